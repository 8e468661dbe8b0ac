"""A runtime without ComfyUI, for tests whose point is what the handler makes of a run.

It keeps the promises of :class:`comfyui_runtime.run.runtime.Runtime`: one run at a time, first come
first served, progress while it runs, and an end at the latest when the job is cancelled or its time
is up. What ComfyUI itself does is not imitated: graphs are not validated.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from comfyui_runtime.errors import ServiceError, WorkerBrokenError
from comfyui_runtime.run.cancellation import Cancellation
from comfyui_runtime.run.outputs import ImageOutput, Output
from comfyui_runtime.run.picture_nodes import takes_pictures
from comfyui_runtime.run.progress import OnProgress, Progress
from comfyui_runtime.run.runtime import LoadedModels, RunResult
from comfyui_runtime.workflow.images import PixelImage
from comfyui_runtime.workflow.patch import PatchedGraph

GREY = PixelImage(np.full((48, 64, 3), 128, np.uint8))


def inverted_images(patched: PatchedGraph) -> tuple[Output, ...]:
    """For each node that saves pictures, the graph's first input image inverted, or a grey one."""
    image = next(iter(patched.images.values()), None)
    picture = GREY if image is None else PixelImage(255 - image.pixels)
    savers = [id_ for id_, node in patched.graph.nodes.items() if takes_pictures(node)]
    return tuple(ImageOutput(node_id, picture) for node_id in savers)


class FakeRuntime:
    """Runs graphs by making up their outputs. Every attribute may be changed between runs.

    Attributes:
        outputs: Makes a run's outputs.
        seconds: How long each run takes.
        steps: How many steps each run reports; it looks at its cancellation more often than that.
        failure: Raised by each run when its time has passed.
        classes: What :meth:`node_classes` answers.
        stubborn: Whether runs ignore their cancellation: the runtime is broken after one.
        gate: Runs wait for it; open unless a test clears it.
        runs: The graphs of the runs that have started, in order.
        cached_nodes: What each result says of ComfyUI's cache.
        loaded_models: The models that it says it keeps.
    """

    def __init__(
        self,
        outputs: Callable[[PatchedGraph], tuple[Output, ...]] = inverted_images,
        *,
        seconds: float = 0.0,
        steps: int = 1,
        failure: Exception | None = None,
        classes: frozenset[str] | None = None,
        stubborn: bool = False,
    ) -> None:
        self.outputs = outputs
        self.seconds = seconds
        self.steps = steps
        self.failure = failure
        self.classes = classes
        self.stubborn = stubborn
        self.gate = threading.Event()
        self.gate.set()
        self.runs: list[PatchedGraph] = []
        self.cached_nodes: tuple[str, ...] = ()
        self.loaded_models: LoadedModels | None = LoadedModels()
        self._broken = False
        self._busy_seconds = 0.0
        self._queue: deque[object] = deque()
        self._turn = threading.Condition()

    @property
    def broken(self) -> bool:
        return self._broken

    @property
    def busy_seconds(self) -> float:
        return self._busy_seconds

    def node_classes(self) -> frozenset[str] | None:
        return self.classes

    def node_definitions(self, class_types: Iterable[str]) -> dict[str, dict[str, Any]]:
        del class_types
        return {}

    def wait_for_runs(self, count: int, timeout: float = 10.0) -> None:
        """Return once that many runs have started."""
        with self._turn:
            if not self._turn.wait_for(lambda: len(self.runs) >= count, timeout):
                raise TimeoutError(f"{len(self.runs)} of {count} runs started in {timeout} s")

    def run(
        self,
        patched: PatchedGraph,
        cancellation: Cancellation,
        on_progress: OnProgress | None = None,
    ) -> RunResult:
        if self._broken:
            raise WorkerBrokenError("The worker is broken.")
        queued_at = time.monotonic()
        ticket = object()
        take_back = cancellation.on_cancel(self._notify)
        with self._turn:
            self._queue.append(ticket)
            try:
                while self._queue[0] is not ticket:
                    cancellation.check()
                    with cancellation.paused():
                        self._turn.wait()
                cancellation.check()
            except ServiceError:
                self._queue.remove(ticket)
                self._turn.notify_all()
                take_back()
                raise
            self.runs.append(patched)
            self._turn.notify_all()
        started = time.monotonic()
        try:
            self._work(patched, cancellation, on_progress)
            outputs = self.outputs(patched)
        finally:
            take_back()
            spent = time.monotonic() - started
            with self._turn:
                self._busy_seconds += spent
                self._queue.remove(ticket)
                self._turn.notify_all()
        return RunResult(
            outputs=outputs,
            cached_nodes=self.cached_nodes,
            node_seconds=dict.fromkeys(patched.graph.nodes, spent / len(patched.graph.nodes)),
            validate_seconds=0.0,
            run_seconds=spent,
            queue_seconds=started - queued_at,
        )

    def _work(
        self, patched: PatchedGraph, cancellation: Cancellation, on_progress: OnProgress | None
    ) -> None:
        node_id, node = next(iter(patched.graph.nodes.items()))
        for step in range(1, self.steps + 1):
            self._pass_time(cancellation)
            if on_progress is not None:
                on_progress(
                    Progress(
                        node_id,
                        node.class_type,
                        node.title,
                        step,
                        self.steps,
                        step / self.steps,
                    )
                )
        if self.failure is not None:
            raise self.failure

    def _pass_time(self, cancellation: Cancellation) -> None:
        ends_at = time.monotonic() + self.seconds / self.steps
        while not self.gate.is_set() or time.monotonic() < ends_at:
            if cancellation.requested and self.stubborn:
                self._broken = True
                raise WorkerBrokenError("A node did not stop when told to.")
            cancellation.check()
            left = max(0.0, ends_at - time.monotonic())
            time.sleep(min(0.01, left) if self.gate.is_set() else 0.01)
        if not self.stubborn:
            cancellation.check()

    def _notify(self) -> None:
        with self._turn:
            self._turn.notify_all()
