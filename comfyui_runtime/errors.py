"""The root of the one error hierarchy, and the failures that ComfyUI itself can cause.

Every failure that a caller can meet is a :class:`ServiceError`: a stable ``code``, a message
that says what to change, whether the same request may succeed if sent again, and the HTTP status
that an adapter speaking HTTP answers with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from pydantic import JsonValue


LONGEST_TEXT = 8_000
"""Characters of a message, or of a text in its details."""
_MOST_ITEMS = 2_000


class ServiceError(Exception):
    """A failure that a caller can meet.

    Attributes:
        code: Stable identifier; never changes once released.
        http_status: Status for adapters that speak HTTP.
        retryable: Whether sending the same request again may succeed.
        message: One or two sentences; says what to change. Bounded, as the details are.
        details: JSON data that a program can act on (parameter or node names, bounds, paths).
    """

    code: ClassVar[str] = "internal"
    http_status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, **details: JsonValue) -> None:
        self.message = shortened(message)
        super().__init__(self.message)
        self.details: dict[str, JsonValue] = {
            name: _bounded(value) for name, value in details.items()
        }

    def __str__(self) -> str:
        return self.message


def shortened(text: str, most: int = LONGEST_TEXT) -> str:
    """Return a text's beginning and end where it is longer than ``most`` characters.

    A node may raise megabytes; what went wrong stands at the end of them as often as at the start.
    """
    if len(text) <= most:
        return text
    kept = most // 2
    return f"{text[:kept]} […{len(text) - 2 * kept} characters…] {text[-kept:]}"


def _bounded(value: JsonValue) -> JsonValue:
    match value:
        case str():
            return shortened(value)
        case list():
            return [_bounded(item) for item in value[:_MOST_ITEMS]]
        case dict():
            return {key: _bounded(item) for key, item in list(value.items())[:_MOST_ITEMS]}
        case _:
            return value


class BootError(ServiceError):
    """ComfyUI could not be started in this process; the worker must not take jobs."""

    code = "boot_failed"
    http_status = 503


class NoGpuError(BootError):
    """No CUDA device is visible and CPU was not asked for."""

    code = "no_gpu"


class WorkflowError(ServiceError):
    """One of a workflow's own files is wrong: its graph or its manifest."""

    code = "workflow_broken"
    http_status = 500


class UnknownWorkflowError(ServiceError):
    """The event names a workflow that this installation does not have."""

    code = "unknown_workflow"
    http_status = 404


class ParameterError(ServiceError):
    """A parameter is unknown, of the wrong type, or out of its range."""

    code = "invalid_parameter"
    http_status = 422


class GraphError(ServiceError):
    """ComfyUI's validation refused a node of the patched graph."""

    code = "invalid_graph"
    http_status = 422


class MissingNodeClassError(GraphError):
    """The graph names a ``class_type`` that no installed node pack defines."""

    code = "missing_node_class"
    http_status = 503


class ModelError(ServiceError):
    """A model file is missing, truncated, or of another kind than its node needs."""

    code = "model_unusable"
    http_status = 503


class MissingModelError(ModelError):
    """A model file that the graph names is in none of the model folders."""

    code = "missing_model"


class NodeError(ServiceError):
    """A node raised an exception while the graph ran."""

    code = "node_failed"
    http_status = 500


class OutOfMemoryError(NodeError):
    """The device ran out of memory; models were unloaded and the worker continues."""

    code = "out_of_memory"
    http_status = 507
    retryable = True


class NodeInterruptedError(NodeError):
    """A node, not the caller, interrupted the run."""

    code = "interrupted"
    retryable = True


class ServerUnreachableError(ServiceError):
    """The ComfyUI server that runs the graphs does not answer, or has lost the job."""

    code = "comfyui_unreachable"
    http_status = 503
    retryable = True


class CancelledError(ServiceError):
    """The caller cancelled the job."""

    code = "cancelled"
    http_status = 499


class DeadlineError(ServiceError):
    """The job did not end within its time limit."""

    code = "deadline_exceeded"
    http_status = 504
    retryable = True


class WorkerBrokenError(ServiceError):
    """A node did not stop when told to; this process cannot run another job."""

    code = "worker_broken"
    http_status = 503
    retryable = True
