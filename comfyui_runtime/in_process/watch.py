"""Follows a run in this process, and stops it there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfyui_runtime.in_process import comfy
from comfyui_runtime.run.messages import NodeStarted, RunStarted
from comfyui_runtime.run.watch import RunWatch

if TYPE_CHECKING:
    from PIL.Image import Image

    from comfyui_runtime.run.cancellation import Cancellation
    from comfyui_runtime.run.messages import RunEvent
    from comfyui_runtime.run.progress import OnProgress
    from comfyui_runtime.workflow.graph import Graph, NodeId


class InProcessWatch(RunWatch):
    """Takes the events of a run on the thread that runs it, and ends the run from there."""

    def __init__(
        self, graph: Graph, cancellation: Cancellation, on_progress: OnProgress | None
    ) -> None:
        super().__init__(graph, cancellation, on_progress)
        self._stop = cancellation

    def on_event(self, event: RunEvent) -> None:
        """Take an event, and stop the run if that was asked for."""
        if isinstance(event, RunStarted) and self._stop.requested:
            # ComfyUI has just taken back every interrupt, one meant for this run included.
            comfy.interrupt()
        super().on_event(event)
        if isinstance(event, NodeStarted):
            self._stop_if_requested()

    def on_step(
        self, value: int, total: int, preview: Image | None, node_id: NodeId | None
    ) -> None:
        """Take a step, and stop the run if that was asked for."""
        self._stop_if_requested()
        super().on_step(value, total, preview, node_id)

    def _stop_if_requested(self) -> None:
        if self._stop.requested:
            comfy.raise_interrupted()
