"""The messages by which ComfyUI tells how a run goes and what is wrong with a graph.

Its executor sends the same ones in this process as its server passes on over a web socket, so both
runtimes read them here, and what lies behind sees only these records. Names and fields were checked
against ComfyUI 0.3.75 (``execution.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from comfyui_runtime.workflow.graph import NodeId

# Exceptions that mean nothing else, whichever library's they are: torch's own changed its module
# with 2.5, and numpy's is _ArrayMemoryError.
_OUT_OF_MEMORY = frozenset({"OutOfMemoryError", "MemoryError", "_ArrayMemoryError"})
_OUT_OF_RAM = frozenset({"MemoryError", "_ArrayMemoryError"})
# Exceptions that may mean it; their text tells.
_MAYBE_OUT_OF_MEMORY = frozenset(
    {"RuntimeError", "AcceleratorError", "OSError", "SafetensorError", "RuntimeException"}
)
_RAM_TEXTS = (
    "defaultcpuallocator",  # torch's allocator on the CPU
    "cannot allocate memory",  # the operating system's words
)
_DEVICE_TEXTS = (
    "out of memory",  # CUDA, HIP, MPS, XPU
    "cublas_status_alloc_failed",
    "failed to allocate memory",  # onnxruntime
    "ran out of memory on your gpu",  # added by ComfyUI where its is_oom() says so
)


@dataclass(frozen=True)
class RunStarted:
    """The executor has taken up a run."""


@dataclass(frozen=True)
class NodesCached:
    """These nodes' outputs are still known from an earlier run."""

    node_ids: tuple[NodeId, ...]


@dataclass(frozen=True)
class NodeStarted:
    """A node starts.

    Attributes:
        node_id: The node that a user sees: of an expanded node, the one that was expanded. ``None``
            once the last one has ended.
    """

    node_id: NodeId | None


@dataclass(frozen=True)
class NodeFailed:
    """A node raised an exception, or blocked its output with a message.

    Attributes:
        exception: The exception's type, with its module unless it is a built-in one.
        text: The exception's message.
    """

    node_id: NodeId
    class_type: str
    exception: str
    text: str

    @property
    def out_of_memory(self) -> bool:
        """Whether the device's or the machine's memory ran out."""
        return (
            self._kind in _OUT_OF_MEMORY
            or self.out_of_ram
            or (self._kind in _MAYBE_OUT_OF_MEMORY and self._says(_DEVICE_TEXTS))
        )

    @property
    def out_of_ram(self) -> bool:
        """Whether it was the machine's memory that ran out, rather than the device's."""
        return self._kind in _OUT_OF_RAM or (
            self._kind in _MAYBE_OUT_OF_MEMORY and self._says(_RAM_TEXTS)
        )

    @property
    def _kind(self) -> str:
        return self.exception.rpartition(".")[2]

    def _says(self, texts: tuple[str, ...]) -> bool:
        text = self.text.lower()
        return any(part in text for part in texts)


@dataclass(frozen=True)
class RunInterrupted:
    """The run was interrupted in a node."""

    node_id: NodeId
    class_type: str


@dataclass(frozen=True)
class StepDone:
    """A node has done a step; only servers send this.

    Attributes:
        node_id: The node, where the message names it.
    """

    value: int
    total: int
    node_id: NodeId | None


RunEvent = RunStarted | NodesCached | NodeStarted | NodeFailed | RunInterrupted | StepDone


def parse_message(  # noqa: PLR0911 - one for each message
    name: object, data: object
) -> RunEvent | None:
    """Return what a message says of a run, or ``None`` if it is about something else."""
    match name, data:
        case "execution_start", _:
            return RunStarted()
        case "execution_cached", {"nodes": [*node_ids]}:
            return NodesCached(tuple(map(str, node_ids)))
        case "executing", {"node": node_id, **more}:
            shown = more.get("display_node", node_id)
            return NodeStarted(None if shown is None else str(shown))
        case "execution_error", {"node_id": node_id, "node_type": class_type, **more}:
            return NodeFailed(
                str(node_id),
                str(class_type),
                str(more.get("exception_type")),
                str(more.get("exception_message")).strip(),
            )
        case "execution_interrupted", {"node_id": node_id, "node_type": class_type}:
            return RunInterrupted(str(node_id), str(class_type))
        case "progress", {
            "value": int() | float() as value,
            "max": int() | float() as total,
            **more,
        }:
            node = more.get("node")
            return StepDone(int(value), int(total), None if node is None else str(node))
        case _:
            return None


def last_event(messages: Iterable[tuple[str, Mapping[str, Any]]]) -> RunEvent | None:
    """Return what the last of the executor's messages says: how the run ended."""
    event = None
    for name, data in messages:
        event = parse_message(name, data)
    return event


@dataclass(frozen=True)
class Refusal:
    """The first thing that ComfyUI's validation found wrong.

    Attributes:
        node_id: The node; ``None`` where the graph as a whole is wrong.
        kind: ComfyUI's name for what is wrong.
        text: What is wrong, for a reader.
        details: More of it; may be empty.
        input_name: The node's input; empty where it is the node itself.
    """

    node_id: NodeId | None
    kind: str
    text: str
    details: str
    input_name: str = ""

    @property
    def is_unknown_choice(self) -> bool:
        """Whether the input's value is not among those that the node takes."""
        return self.kind == "value_not_in_list"

    @property
    def is_missing_input(self) -> bool:
        """Whether the node needs an input that the graph does not give it."""
        return self.kind == "required_input_missing"


def first_refusal(
    error: Mapping[str, Any] | None, node_errors: Mapping[NodeId, Mapping[str, Any]]
) -> Refusal | None:
    """Return the first thing that is wrong, or ``None`` if nothing is.

    Args:
        error: ComfyUI's error for the whole graph. It only sums up where nodes have errors.
        node_errors: Its errors by node.
    """
    return next(iter(all_refusals(error, node_errors)), None)


def all_refusals(
    error: Mapping[str, Any] | None, node_errors: Mapping[NodeId, Mapping[str, Any]]
) -> tuple[Refusal, ...]:
    """Return everything that is wrong; see :func:`first_refusal`."""
    by_node = tuple(
        _refusal(node_id, one)
        for node_id, report in node_errors.items()
        for one in report["errors"]
    )
    return by_node or (() if error is None else (_refusal(None, error),))


def _refusal(node_id: NodeId | None, error: Mapping[str, Any]) -> Refusal:
    extra = error.get("extra_info") or {}
    return Refusal(
        node_id,
        kind=str(error["type"]),
        text=str(error["message"]),
        # What an exception says may be nothing.
        details=str(error["details"]) or str(extra.get("exception_type") or ""),
        input_name=str(extra.get("input_name") or ""),
    )
