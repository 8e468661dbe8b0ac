"""A job's progress, from the event to the stored result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_serializer
from pydantic.json_schema import SkipJsonSchema

Phase = Literal["fetch", "run", "encode", "store"]


class JobProgress(BaseModel):
    """Where a running job is."""

    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)

    phase: Phase
    fraction: float = Field(0.0, description="Share of the workflow's graph that is done, 0 to 1.")
    node: str | None = Field(None, description="Title of the node that runs, in the `run` phase.")
    step: int = Field(0, description="Steps of that node that are done.")
    steps: int = Field(0, description="Steps of that node in all.")
    node_id: SkipJsonSchema[str | None] = Field(None, exclude=True)
    class_type: SkipJsonSchema[str | None] = Field(None, exclude=True)
    preview: SkipJsonSchema[Any] = Field(
        None,
        exclude=True,
        description="The sampler's picture so far, a PIL image, where the runtime makes them.",
    )

    def to_json(self) -> dict[str, Any]:
        """Return JSON data; the preview is left out."""
        return self.model_dump(mode="json")

    @field_serializer("fraction")
    def _rounded(self, fraction: float) -> float:
        return round(fraction, 3)


OnJobProgress = Callable[[JobProgress], None]
