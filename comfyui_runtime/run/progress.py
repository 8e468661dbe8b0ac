"""What happens in a running graph, as events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

    from comfyui_runtime.workflow.graph import NodeId


@dataclass(frozen=True)
class Progress:
    """A step of a running graph.

    Attributes:
        node_id: The node that runs.
        class_type: Its class.
        title: Its title in the workflow.
        step: Completed steps of this node.
        steps: Total steps of this node; 1 for a node that reports none.
        fraction: Completed share of the graph, from 0 to 1; it never decreases.
        preview: The sampler's picture so far, where previews are on and the step made one.
    """

    node_id: NodeId
    class_type: str
    title: str
    step: int
    steps: int
    fraction: float
    preview: Image | None = None


OnProgress = Callable[[Progress], None]
