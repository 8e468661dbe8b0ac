"""What the handler knows of a runtime: the protocol, and the result of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from comfyui_runtime.run.outputs import FileOutput

if TYPE_CHECKING:
    from collections.abc import Iterable

    from comfyui_runtime.run.cancellation import Cancellation
    from comfyui_runtime.run.outputs import Output
    from comfyui_runtime.run.progress import OnProgress
    from comfyui_runtime.workflow.graph import NodeId
    from comfyui_runtime.workflow.patch import PatchedGraph


@dataclass(frozen=True)
class RunResult:
    """The result of a run.

    Attributes:
        outputs: In order; there may be none. :meth:`discard` removes those on the disk.
        cached_nodes: Nodes whose outputs were kept from an earlier run, as ComfyUI reports them.
        node_seconds: Seconds that each executed node took.
        validate_seconds: Seconds of validation.
        run_seconds: Seconds on the device, without validation.
        queue_seconds: Seconds that the run waited for earlier ones.
        warnings: Sentences about what was done for the graph to run.
    """

    outputs: tuple[Output, ...]
    cached_nodes: tuple[NodeId, ...]
    node_seconds: dict[NodeId, float]
    validate_seconds: float
    run_seconds: float
    queue_seconds: float = 0.0
    warnings: tuple[str, ...] = ()

    def discard(self) -> None:
        """Remove the files of the outputs."""
        for output in self.outputs:
            if isinstance(output, FileOutput):
                output.discard()


@dataclass(frozen=True)
class LoadedModels:
    """The models that are kept for later runs.

    Attributes:
        count: Models, text encoders, VAEs and the like; what shares its weights counts once.
        ram_bytes: What they take of the machine's memory.
        device_bytes: What they take of the device's memory; 0 where graphs run on the CPU.
    """

    count: int = 0
    ram_bytes: int = 0
    device_bytes: int = 0


class Runtime(Protocol):
    """Something that runs graphs: ComfyUI in this process, or a ComfyUI server elsewhere."""

    def run(
        self,
        patched: PatchedGraph,
        cancellation: Cancellation,
        on_progress: OnProgress | None = None,
    ) -> RunResult:
        """Run a graph to its end; every failure is a ``ServiceError``."""
        ...

    def node_classes(self) -> frozenset[str] | None:
        """Return the ``class_type`` of every node class that graphs can name.

        Returns:
            ``None`` where finding out would cost more than it is worth; a graph that names a class
            which is not there is then refused when it is to run.
        """
        ...

    def node_definitions(self, class_types: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return what node classes declare, in the shape of ComfyUI's ``/object_info``.

        Classes that are not there are left out. Safe while a graph runs.
        """
        ...

    @property
    def broken(self) -> bool:
        """Whether no further run is possible and the worker must be replaced."""
        ...

    @property
    def busy_seconds(self) -> float:
        """Seconds that the device has worked so far."""
        ...

    @property
    def loaded_models(self) -> LoadedModels | None:
        """The models kept after the last run, or ``None`` where they are elsewhere."""
        ...


def extra_data(patched: PatchedGraph) -> dict[str, Any]:
    """Return what ComfyUI hands nodes beside a graph: the key of Comfy.org, if there is one."""
    key = patched.comfy_org_api_key
    return {} if key is None else {"api_key_comfy_org": key}
