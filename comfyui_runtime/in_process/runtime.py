"""Runs patched graphs in ComfyUI's executor: one at a time, stoppable, with a deadline."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from concurrent.futures import CancelledError as FutureCancelledError
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from comfyui_runtime.errors import WorkerBrokenError
from comfyui_runtime.in_process import comfy
from comfyui_runtime.in_process.comfy.pictures import (
    IMAGE_INPUT,
    IMAGE_OUTPUT,
    MASK_INPUT,
    offered_images,
)
from comfyui_runtime.in_process.descriptors import mend_descriptors
from comfyui_runtime.in_process.device_thread import DeviceThread
from comfyui_runtime.in_process.validate import ModelCheck, take_graph, validate_graph
from comfyui_runtime.in_process.watch import InProcessWatch
from comfyui_runtime.in_process.watchdog import Watchdog
from comfyui_runtime.run.inputs import place_files
from comfyui_runtime.run.outputs import (
    Reports,
    clear_scratch,
    collect_outputs,
    read_scratch_file,
)
from comfyui_runtime.run.picture_nodes import MASK_LOADER, with_picture_nodes
from comfyui_runtime.run.runtime import LoadedModels, RunResult, extra_data
from comfyui_runtime.workflow.graph import Node

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future
    from pathlib import Path

    from PIL.Image import Image

    from comfyui_runtime.run.cancellation import Cancellation
    from comfyui_runtime.run.messages import RunEvent
    from comfyui_runtime.run.progress import OnProgress
    from comfyui_runtime.workflow.files import FileUse
    from comfyui_runtime.workflow.graph import NodeId
    from comfyui_runtime.workflow.images import PixelImage
    from comfyui_runtime.workflow.patch import PatchedGraph

log = logging.getLogger(__name__)

_QUEUE_LOOK = 0.5


class InProcessRuntime:
    """The ComfyUI of this process. Created by :func:`comfyui_runtime.in_process.boot.boot`.

    Args:
        scratch: Private folder with ``input/``, ``output/`` and ``temp/``, emptied after each run.
        stop_grace: Seconds that a node has to stop when told to, before the worker counts as
            broken.
        exit_when_stuck: See :class:`comfyui_runtime.in_process.options.BootOptions`.
    """

    def __init__(
        self,
        server: comfy.RunEvents,
        executor: comfy.Executor,
        scratch: Path,
        stop_grace: float,
        *,
        exit_when_stuck: bool = False,
    ) -> None:
        self._server = server
        self._executor = executor
        self._scratch = scratch
        self._stop_grace = stop_grace
        self._watch: InProcessWatch | None = None
        self._watchdog = Watchdog(enabled=exit_when_stuck)
        self._broken = False
        self._loaded_models = LoadedModels()
        self._model_check = ModelCheck()
        self._thread = DeviceThread(comfy.free_memory)
        comfy.install_progress_hook(self._on_step)
        server.sink = self._on_event

    @property
    def broken(self) -> bool:
        """Whether a node did not stop when told to: the process must be replaced."""
        return self._broken

    @property
    def busy_seconds(self) -> float:
        """Seconds that the device's thread has worked so far, including the current run."""
        return self._thread.busy_seconds

    @property
    def loaded_models(self) -> LoadedModels:
        """The models kept after the last run."""
        return self._loaded_models

    def run(
        self,
        patched: PatchedGraph,
        cancellation: Cancellation,
        on_progress: OnProgress | None = None,
    ) -> RunResult:
        """Validate a graph and run it. Safe from any thread; runs queue up in order.

        Args:
            cancellation: Stops the run within one step of the running node, on request or when
                its time is up. Its time stands still while the run waits for earlier ones: each
                of those ends within a limit of its own.
            on_progress: Called on the device's thread: it must return at once.

        Raises:
            GraphError: The graph is not valid; nothing was run.
            ModelError: A model file is missing or cannot be what its name says.
            OutOfMemoryError: The device's or the machine's memory ran out. Models were unloaded.
            NodeError: A node raised an exception.
            CancelledError: The run was cancelled.
            DeadlineError: The time limit was reached.
            WorkerBrokenError: A node did not stop within the grace period, now or earlier.
        """
        if self._broken:
            raise _broken_error()
        queued_at = time.monotonic()
        run_id = uuid.uuid4().hex
        watch = InProcessWatch(patched.graph, cancellation, on_progress)

        def call() -> RunResult:
            cancellation.resume()
            cancellation.check()
            waited = time.monotonic() - queued_at
            remaining = cancellation.remaining
            limit = None if remaining is None else remaining + self._stop_grace
            with self._watchdog.watching(limit):
                result = self._run(run_id, patched, watch)
            return replace(result, queue_seconds=waited)

        cancellation.pause()
        take_back = None
        try:
            future = self._thread.submit(call)
            take_back = cancellation.on_cancel(lambda: self._stop(future, watch))
            return self._wait(future, cancellation, watch)
        finally:
            cancellation.resume()
            if take_back is not None:
                take_back()

    def node_classes(self) -> frozenset[str]:
        """Return the ``class_type`` of every node class that graphs can name."""
        return comfy.node_class_names()

    def node_definitions(self, class_types: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return what node classes declare; see :class:`comfyui_runtime.run.runtime.Runtime`."""
        return comfy.node_definitions(class_types, mark_model_folders=False)

    def close(self, timeout: float = 10.0) -> None:
        """Let queued runs end and stop the thread; wait at most ``timeout`` seconds."""
        self._thread.stop(timeout)

    def _wait(
        self, future: Future[RunResult], cancellation: Cancellation, watch: InProcessWatch
    ) -> RunResult:
        ended_or_stopped = threading.Event()
        future.add_done_callback(lambda _: ended_or_stopped.set())
        take_back = cancellation.on_cancel(ended_or_stopped.set)
        try:
            while not ended_or_stopped.wait(_look_again_after(cancellation)):
                if cancellation.requested or self._broken:
                    break
        finally:
            take_back()
        if not future.done():
            self._stop(future, watch)
        try:
            return future.result(self._stop_grace)
        except FutureCancelledError as error:
            cancellation.check()
            # A run before this one did not stop: its turn will never come.
            raise _broken_error() from error
        except TimeoutError as error:
            self._broken = True
            self._watchdog.stand_down()
            log.critical("node did not stop", extra=watch.where())
            raise _broken_error(**watch.where()) from error

    def _stop(self, future: Future[RunResult], watch: InProcessWatch) -> None:
        if not future.cancel() and self._watch is watch:
            comfy.interrupt()

    def _run(self, run_id: str, patched: PatchedGraph, watch: InProcessWatch) -> RunResult:
        started = time.perf_counter()
        try:
            place_files(self._scratch / "input", patched.files.values())
            taken = take_graph(patched)
            pictures = _InProcessPictures(self._scratch / "input")
            graph = with_picture_nodes(taken, run_id, pictures)
            with offered_images(taken.images):
                valid = validate_graph(graph, run_id, taken.node_packs)
                self._model_check.check(taken)
                validated = time.perf_counter()
                self._watch = watch
                prompt = comfy.QueuedPrompt(
                    run_id, valid.prompt, valid.outputs_to_run, extra_data(taken)
                )
                reports = self._run_prompts(prompt, watch)
            outputs = collect_outputs(
                reports.by_node, lambda entry: read_scratch_file(self._scratch, entry)
            )
        finally:
            self._watch = None
            mend_descriptors()
            clear_scratch(self._scratch)
            if watch.out_of_ram:
                self._executor.clear()
            if watch.out_of_memory:
                comfy.unload_models()
            self._loaded_models = self._executor.loaded_models
        return RunResult(
            outputs=outputs,
            cached_nodes=tuple(watch.cached_nodes),
            node_seconds=watch.node_seconds,
            validate_seconds=validated - started,
            run_seconds=time.perf_counter() - validated,
            warnings=valid.warnings,
        )

    def _run_prompts(self, first: comfy.QueuedPrompt, watch: InProcessWatch) -> Reports:
        """Run a job's prompt, and after it those that its nodes queue."""
        reports = Reports()
        prompt: comfy.QueuedPrompt | None = first
        self._server.begin_job(first)
        try:
            while prompt is not None:
                watch.raise_failure(self._execute(prompt, watch))
                reports.add(self._executor.outputs)
                prompt = self._server.next_prompt()
        finally:
            self._server.end_job()
        return reports

    def _execute(self, prompt: comfy.QueuedPrompt, watch: InProcessWatch) -> RunEvent | None:
        try:
            return self._executor.run(
                prompt.run_id, prompt.prompt, prompt.outputs_to_run, prompt.extra_data
            )
        except Exception:
            raise
        except BaseException as error:
            # ComfyUI turns exceptions into events. What is none (SystemExit, KeyboardInterrupt, a
            # panic of an extension in Rust) passes through it.
            raise watch.escaped(error) from error

    def _on_event(self, event: RunEvent) -> None:
        if self._watch is not None:
            self._watch.on_event(event)

    def _on_step(
        self, value: int, total: int, preview: Image | None, node_id: NodeId | None
    ) -> None:
        if self._watch is not None:
            self._watch.on_step(value, total, preview, node_id)


class _InProcessPictures:
    """Pictures go in and out as pixels: no file is read or written."""

    def __init__(self, input_folder: Path) -> None:
        self._input_folder = input_folder

    def input_node(self, node: Node, image: PixelImage) -> Node:
        if node.class_type == MASK_LOADER:
            inputs = {"digest": image.digest, "channel": node.inputs.get("channel", "alpha")}
            return Node(MASK_INPUT, inputs, node.title)
        return Node(IMAGE_INPUT, {"digest": image.digest}, node.title)

    def file_node(self, node: Node, use: FileUse) -> Node:
        name = str(self._input_folder / use.place) if use.loader.by_path else use.place
        return replace(node, inputs={**node.inputs, use.loader.input: name})

    def output_node(self, node: Node) -> Node:
        return Node(IMAGE_OUTPUT, {"images": node.inputs["images"]}, node.title)

    def is_output(self, class_type: str) -> bool:
        # Pixels that were kept are as good as new ones.
        return class_type != IMAGE_OUTPUT and comfy.is_output_class(class_type)


def _look_again_after(cancellation: Cancellation) -> float | None:
    """Return the seconds until a waiting thread has to look whether it waits in vain."""
    return _QUEUE_LOOK if cancellation.is_paused else cancellation.remaining


def _broken_error(**where: str | None) -> WorkerBrokenError:
    return WorkerBrokenError(
        "A node did not stop when told to, so this worker cannot run another job and must be "
        "replaced. Send the job again: another worker will take it.",
        **where,
    )
