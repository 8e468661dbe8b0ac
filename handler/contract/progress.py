"""A job's progress, from the event to the stored result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from PIL.Image import Image

Phase = Literal["fetch", "run", "encode", "store"]


@dataclass(frozen=True)
class JobProgress:
    """Where a job is.

    Attributes:
        fraction: Share of the graph that is done, 0 to 1.
        node: Title of the node that runs, in the ``run`` phase.
        step: Steps of that node that are done.
        steps: Steps of that node in all.
        preview: The sampler's picture so far, where the runtime makes them.
    """

    phase: Phase
    fraction: float = 0.0
    node: str | None = None
    step: int = 0
    steps: int = 0
    preview: Image | None = None

    def to_json(self) -> dict[str, Any]:
        """Return JSON data; the preview is left out."""
        return {
            "phase": self.phase,
            "fraction": round(self.fraction, 3),
            "node": self.node,
            "step": self.step,
            "steps": self.steps,
        }


OnJobProgress = Callable[[JobProgress], None]
