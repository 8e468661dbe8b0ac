"""Follows one run by its events: progress out, and at the end what went wrong."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from comfyui_runtime.errors import NodeError, NodeInterruptedError, OutOfMemoryError, ServiceError
from comfyui_runtime.run.messages import NodeFailed, NodesCached, NodeStarted, RunInterrupted
from comfyui_runtime.run.progress import Progress

if TYPE_CHECKING:
    from PIL.Image import Image
    from pydantic import JsonValue

    from comfyui_runtime.run.cancellation import Cancellation
    from comfyui_runtime.run.messages import RunEvent
    from comfyui_runtime.run.progress import OnProgress
    from comfyui_runtime.workflow.graph import Graph, NodeId


class RunWatch:
    """Takes the events of one run, wherever ComfyUI runs.

    Attributes:
        cached_nodes: Nodes whose outputs were kept from an earlier run.
        node_seconds: Seconds that each executed node took.
        out_of_memory: Whether the run failed because memory ran out.
        out_of_ram: Whether that was the machine's memory, rather than the device's.
    """

    def __init__(
        self, graph: Graph, cancellation: Cancellation, on_progress: OnProgress | None
    ) -> None:
        self._graph = graph
        self._cancellation = cancellation
        self._on_progress = on_progress
        self._node_id: NodeId | None = None
        self._node_started = 0.0
        self._done: set[NodeId] = set()
        self._fraction = 0.0
        self._failure: NodeFailed | None = None
        self.cached_nodes: list[NodeId] = []
        self.node_seconds: dict[NodeId, float] = {}
        self.out_of_memory = False
        self.out_of_ram = False

    def on_event(self, event: RunEvent) -> None:
        """Take an event."""
        match event:
            case NodesCached(node_ids):
                self.cached_nodes = list(node_ids)
                self._done.update(node_ids)
            case NodeStarted(node_id):
                self._enter(self._graph_node_id(node_id))
            case NodeFailed():
                self._failure = event

    def on_step(
        self, value: int, total: int, preview: Image | None, node_id: NodeId | None
    ) -> None:
        """Take a step that a node reports: ``value`` of ``total`` are done."""
        self._report(self._graph_node_id(node_id) or self._node_id, value, total, preview)

    def where(self) -> dict[str, str | None]:
        """Return id, class and title of the node that runs."""
        if self._node_id is None:
            return {"node_id": None, "class_type": None, "title": None}
        node = self._graph.nodes[self._node_id]
        return {"node_id": self._node_id, "class_type": node.class_type, "title": node.title}

    def escaped(self, error: BaseException) -> NodeError:
        """Return the failure of a run that ended by an exception which ComfyUI does not handle."""
        where = self.where()
        place = f"node {where['node_id']} ({where['title']})" if where["node_id"] else "a node"
        kind = type(error).__name__
        text = f"{kind}: {error}" if str(error) else kind
        self._leave()
        return NodeError(
            f"{place[0].upper()}{place[1:]} raised {text}, which would end the process; the "
            "worker continues. Report it to the author of the node's pack.",
            **where,
            type=kind,
        )

    def raise_failure(self, last_event: RunEvent | None) -> None:
        """Return if the run ended well, else raise what ended it.

        Args:
            last_event: How the executor says that the run ended.

        Raises:
            OutOfMemoryError: The device or the machine ran out of memory.
            NodeError: A node raised an exception, or blocked its output.
            NodeInterruptedError: A node interrupted the run.
            ServiceError: The run was cancelled or timed out.
        """
        self._leave()
        if isinstance(last_event, RunInterrupted):
            raise self._interruption(last_event)
        failure = last_event if isinstance(last_event, NodeFailed) else self._failure
        if failure is not None:
            raise self._node_error(failure)

    def _enter(self, node_id: NodeId | None) -> None:
        self._leave()
        self._node_id = node_id
        self._node_started = time.perf_counter()
        self._report(node_id, 0, 1, None)

    def _leave(self) -> None:
        if self._node_id is not None:
            spent = time.perf_counter() - self._node_started
            self.node_seconds[self._node_id] = self.node_seconds.get(self._node_id, 0.0) + spent
            self._done.add(self._node_id)
            self._node_id = None

    def _graph_node_id(self, node_id: str | None) -> NodeId | None:
        """Return the id if it is one of the workflow's graph and not of an expanded node's."""
        return node_id if node_id in self._graph.nodes else None

    def _report(
        self, node_id: NodeId | None, value: int, total: int, preview: Image | None
    ) -> None:
        if self._on_progress is None or node_id is None:
            return
        steps = max(int(total), 1)
        done = len(self._done - {node_id}) + min(value / steps, 1.0)
        self._fraction = max(self._fraction, min(done / len(self._graph.nodes), 1.0))
        node = self._graph.nodes[node_id]
        self._on_progress(
            Progress(
                node_id, node.class_type, node.title, int(value), steps, self._fraction, preview
            )
        )

    def _node_error(self, failure: NodeFailed) -> ServiceError:
        place, details = self._place(failure.node_id, failure.class_type)
        if failure.out_of_memory:
            self.out_of_memory = True
            self.out_of_ram = failure.out_of_ram
            if self.out_of_ram:
                return OutOfMemoryError(
                    f"The machine ran out of memory (RAM) in {place}. Ask for fewer pixels, give "
                    "the worker more memory, or raise COMFYUI_CACHE_RAM_HEADROOM_GIB.",
                    **details,
                )
            return OutOfMemoryError(
                f"The device ran out of memory in {place}. Ask for fewer pixels, use a GPU with "
                "more memory, or set COMFYUI_VRAM_MODE=low.",
                **details,
            )
        return NodeError(
            f"{place[0].upper()}{place[1:]} failed: {failure.text or failure.exception}",
            **details,
            type=failure.exception,
        )

    def _interruption(self, event: RunInterrupted) -> ServiceError:
        place, details = self._place(event.node_id, event.class_type)
        try:
            self._cancellation.check()
        except ServiceError as error:
            error.details.update(details)
            return error
        return NodeInterruptedError(f"The run was interrupted from inside {place}.", **details)

    def _place(self, node_id: NodeId, class_type: str) -> tuple[str, dict[str, JsonValue]]:
        node = self._graph.nodes.get(node_id)
        title = node.title if node else class_type
        details: dict[str, JsonValue] = {
            "node_id": node_id,
            "class_type": class_type,
            "title": title,
        }
        return f"node {node_id} ({title})", details
