from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fake_runtime import FakeRuntime
from runtime_support import chain

from comfyui_runtime.errors import CancelledError, DeadlineError, NodeError, WorkerBrokenError
from comfyui_runtime.run.cancellation import Cancellation
from comfyui_runtime.run.runtime import Runtime
from comfyui_runtime.workflow.images import PixelImage

PHOTO = PixelImage(np.zeros((4, 6, 3), np.uint8))
GRAPH = chain(PHOTO, "ImageInvert")


def test_gives_the_input_image_inverted_for_each_node_that_saves_one():
    runtime: Runtime = FakeRuntime()
    (output,) = runtime.run(GRAPH, Cancellation(10)).outputs
    assert output.node_id == "3"
    assert np.array_equal(output.image.pixels, 255 - PHOTO.pixels)


def test_reports_each_step_up_to_the_whole():
    seen = []
    FakeRuntime(steps=4).run(GRAPH, Cancellation(10), seen.append)
    assert [progress.fraction for progress in seen] == [0.25, 0.5, 0.75, 1.0]


def test_raises_the_failure_that_it_is_told_to():
    runtime = FakeRuntime(failure=NodeError("It broke."))
    with pytest.raises(NodeError, match="It broke"):
        runtime.run(GRAPH, Cancellation(10))
    runtime.failure = None
    assert runtime.run(GRAPH, Cancellation(10)).outputs


def test_run_ends_when_its_time_is_up():
    with pytest.raises(DeadlineError):
        FakeRuntime(seconds=60).run(GRAPH, Cancellation(0.05))


def test_cancelled_run_ends_and_one_that_waits_for_it_does_too():
    runtime = FakeRuntime(seconds=60)
    first, second = Cancellation(60), Cancellation(60)
    with ThreadPoolExecutor(2) as threads:
        running = threads.submit(runtime.run, GRAPH, first)
        runtime.wait_for_runs(1)
        waiting = threads.submit(runtime.run, GRAPH, second)
        second.cancel()
        with pytest.raises(CancelledError):
            waiting.result(10)
        assert not running.done()
        first.cancel()
        with pytest.raises(CancelledError):
            running.result(10)
    assert len(runtime.runs) == 1


def test_runs_go_one_at_a_time_in_the_order_they_came():
    runtime = FakeRuntime()
    runtime.gate.clear()
    graphs = [chain(PHOTO, "ImageInvert") for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        runs = []
        for graph in graphs:
            runs.append(threads.submit(runtime.run, graph, Cancellation(60)))
            while len(runtime._queue) < len(runs):
                threading.Event().wait(0.001)
        assert len(runtime.runs) == 1
        runtime.gate.set()
        results = [run.result(10) for run in runs]
    assert all(one is other for one, other in zip(runtime.runs, graphs, strict=True))
    assert results[-1].queue_seconds > 0


def test_run_that_does_not_stop_breaks_the_worker():
    runtime = FakeRuntime(seconds=60, stubborn=True)
    with pytest.raises(WorkerBrokenError):
        runtime.run(GRAPH, Cancellation(0.05))
    assert runtime.broken
    with pytest.raises(WorkerBrokenError):
        runtime.run(GRAPH, Cancellation(10))
