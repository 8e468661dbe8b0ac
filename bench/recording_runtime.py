"""A runtime that keeps the result of its last run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from comfyui_runtime.run.cancellation import Cancellation
    from comfyui_runtime.run.progress import OnProgress
    from comfyui_runtime.run.runtime import LoadedModels, RunResult, Runtime
    from comfyui_runtime.workflow.patch import PatchedGraph


class RecordingRuntime:
    """Delegates to another runtime.

    Attributes:
        last: The result of the last run.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.last: RunResult | None = None

    @property
    def broken(self) -> bool:
        """The same as of the other runtime."""
        return self._runtime.broken

    @property
    def busy_seconds(self) -> float:
        """The same as of the other runtime."""
        return self._runtime.busy_seconds

    @property
    def loaded_models(self) -> LoadedModels | None:
        """The same as of the other runtime."""
        return self._runtime.loaded_models

    def node_classes(self) -> frozenset[str] | None:
        """As the other runtime says."""
        return self._runtime.node_classes()

    def node_definitions(self, class_types: Iterable[str]) -> dict[str, dict[str, Any]]:
        """As the other runtime says."""
        return self._runtime.node_definitions(class_types)

    def run(
        self,
        patched: PatchedGraph,
        cancellation: Cancellation,
        on_progress: OnProgress | None = None,
    ) -> RunResult:
        """Run a graph."""
        self.last = self._runtime.run(patched, cancellation, on_progress)
        return self.last
