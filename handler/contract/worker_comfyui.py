"""Events in the shape of worker-comfyui's, RunPod's own ComfyUI worker.

Source: the README of worker-comfyui 5.8.5. Beyond it, images may be addresses.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

Shape = Literal["own", "worker-comfyui"]
"""Whose contract an event follows; its answer follows the same."""

MOST_OF_A_FILE_NAME = 255

# Fields of this project's ``input`` that worker-comfyui's has not.
_OWN_FIELDS = frozenset({"image", "files", "params", "output"})
_NONE_OF_THEM: dict[str, Any] = {
    "not": {
        "anyOf": [
            *({"required": [name]} for name in sorted(_OWN_FIELDS)),
            {"required": ["images"], "properties": {"images": {"type": "object"}}},
        ]
    }
}
# S3 signs for seven days at most, and so long are worker-comfyui's addresses valid.
URL_SECONDS = 604_800


class WorkerImage(BaseModel):
    """An image that a ``LoadImage`` node of the graph names."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, hide_input_in_errors=True)

    name: str = Field(
        min_length=1, max_length=MOST_OF_A_FILE_NAME, description="The name in the graph."
    )
    image: str = Field(min_length=1, description="Base64, a data URI, or an http(s) URL.")


class WorkerInput(BaseModel):
    """The ``input`` of worker-comfyui's events."""

    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        strict=True,
        hide_input_in_errors=True,
        json_schema_extra=_NONE_OF_THEM,
    )

    workflow: dict[str, Any] = Field(min_length=1, description="The graph in API format.")
    images: list[WorkerImage] | None = None
    comfy_org_api_key: SecretStr | None = None

    @property
    def named_images(self) -> dict[str, str]:
        """Every image by its name; of several with one name the last one counts."""
        return {image.name: image.image for image in self.images or ()}


def input_of(event: object) -> object:
    """Return an event's ``input``, decoded where it is a JSON text; ``None`` where it has none."""
    given = event.get("input") if isinstance(event, dict) else None
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except (ValueError, RecursionError):
        return given


def shape_of(event: object) -> Shape:
    """Return whose contract an event follows, even where it is not valid.

    It is worker-comfyui's where ``input.workflow`` is a graph and no field is given that only this
    project has; ``"output": {}`` asks for this project's answer.
    """
    match input_of(event):
        case {"workflow": dict(), **more} if not (
            _OWN_FIELDS & more.keys() or isinstance(more.get("images"), dict)
        ):
            return "worker-comfyui"
        case _:
            return "own"
