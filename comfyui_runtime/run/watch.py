"""Follows one run by ComfyUI's events: progress out, and what went wrong in the end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from comfyui_runtime.errors import NodeError, NodeInterruptedError, OutOfMemoryError, ServiceError
from comfyui_runtime.run.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterable

    from comfyui_runtime.run.cancellation import Cancellation
    from comfyui_runtime.run.progress import OnProgress
    from comfyui_runtime.workflow.graph import Graph, NodeId

# The names under which ComfyUI reports that memory ran out (torch's own changed with its 2.5).
_OUT_OF_MEMORY = frozenset({"torch.OutOfMemoryError", "torch.cuda.OutOfMemoryError", "MemoryError"})


class RunWatch:
    """Takes ComfyUI's events of one run, wherever ComfyUI runs."""

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
        self._blocked: dict[str, Any] | None = None
        self.cached_nodes: list[NodeId] = []
        self.node_seconds: dict[NodeId, float] = {}
        self.out_of_memory = False

    def on_event(self, event: str, data: dict[str, Any]) -> None:
        """Take an event that ComfyUI sends to its web page."""
        match event:
            case "execution_cached":
                self.cached_nodes = list(data["nodes"])
                self._done.update(self.cached_nodes)
            case "executing":
                self._enter(self._graph_node_id(data["display_node"]))
            case "execution_error":
                self._blocked = data

    def on_step(self, value: int, total: int, preview: Any, node_id: NodeId | None) -> None:  # noqa: ANN401
        """Take a step that a node reports."""
        image = preview[1] if preview else None
        self._report(self._graph_node_id(node_id) or self._node_id, value, total, image)

    def where(self) -> dict[str, str | None]:
        """Return id, class and title of the node that runs."""
        if self._node_id is None:
            return {"node_id": None, "class_type": None, "title": None}
        node = self._graph.nodes[self._node_id]
        return {"node_id": self._node_id, "class_type": node.class_type, "title": node.title}

    def escaped(self, error: BaseException) -> NodeError:
        """Return the failure of a run that an exception left without ComfyUI's taking notice."""
        where = self.where()
        place = f"node {where['node_id']} ({where['title']})" if where["node_id"] else "a node"
        kind = type(error).__name__
        text = f"{kind}: {error}" if str(error) else kind
        self._leave()
        return NodeError(
            f"{place[0].upper()}{place[1:]} raised {text}, which would end the process; the "
            "worker goes on. Report it to the author of the node's pack.",
            **where,
            type=kind,
        )

    def raise_failure(self, messages: Iterable[tuple[str, dict[str, Any]]]) -> None:
        """Return if the run ended well, else raise what ended it.

        Args:
            messages: The executor's status messages.
        """
        self._leave()
        last_event, data = list(messages)[-1]
        if last_event == "execution_error":
            raise self._node_error(data)
        if last_event == "execution_interrupted":
            raise self._interruption(data)
        if self._blocked is not None:
            raise self._node_error(self._blocked)

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

    def _report(self, node_id: NodeId | None, value: int, total: int, preview: Any) -> None:  # noqa: ANN401
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

    def _place(self, data: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        node_id = data["node_id"]
        node = self._graph.nodes.get(node_id)
        title = node.title if node else data["node_type"]
        details = {"node_id": node_id, "class_type": data["node_type"], "title": title}
        return f"node {node_id} ({title})", details

    def _node_error(self, data: dict[str, Any]) -> ServiceError:
        place, details = self._place(data)
        kind = str(data["exception_type"])
        text = str(data["exception_message"]).strip()
        if kind in _OUT_OF_MEMORY:
            self.out_of_memory = True
            return OutOfMemoryError(
                f"The device ran out of memory in {place}. Ask for fewer pixels, use a GPU with "
                "more memory, or set COMFYUI_VRAM_MODE=low.",
                **details,
            )
        return NodeError(f"{place[0].upper()}{place[1:]} failed: {text}", **details, type=kind)

    def _interruption(self, data: dict[str, Any]) -> ServiceError:
        place, details = self._place(data)
        try:
            self._cancellation.check()
        except ServiceError as error:
            error.details.update(details)
            return error
        return NodeInterruptedError(f"The run was interrupted from inside {place}.", **details)
