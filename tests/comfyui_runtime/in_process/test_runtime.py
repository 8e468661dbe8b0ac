from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from runtime_support import assert_next_job_runs, chain, run
from safetensors.numpy import save_file
from time_bounds import SOON

from comfyui_runtime.errors import (
    CancelledError,
    DeadlineError,
    GraphError,
    MissingModelError,
    MissingNodeClassError,
    ModelError,
    NodeError,
    NodeInterruptedError,
    OutOfMemoryError,
    WorkerBrokenError,
)
from comfyui_runtime.in_process import comfy
from comfyui_runtime.in_process.runtime import InProcessRuntime
from comfyui_runtime.run.cancellation import Cancellation
from comfyui_runtime.run.outputs import FileOutput, ImageOutput
from comfyui_runtime.workflow.graph import parse_graph
from comfyui_runtime.workflow.images import PixelImage
from comfyui_runtime.workflow.manifest import Model
from comfyui_runtime.workflow.patch import ModelUse, PatchedGraph


def wait_until(condition, timeout: float = 20.0) -> None:
    ends_at = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.01)


def test_picture_comes_out_as_the_nodes_made_it(runtime, photo):
    assert_next_job_runs(runtime, photo)


def test_unchanged_picture_is_bit_for_bit_the_same(runtime, photo):
    result = run(runtime, chain(photo, "TestRaise", kind="nothing"))
    assert np.array_equal(result.outputs[0].image.pixels, photo.pixels)


def test_alpha_reaches_the_graph_as_the_mask_that_loadimage_gives(runtime):
    rgba = np.zeros((8, 8, 4), dtype=np.uint8)
    rgba[:, :4, 3] = 255
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "photo.png"}},
        "2": {"class_type": "MaskToImage", "inputs": {"mask": ["1", 1]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}},
    }
    result = run(runtime, PatchedGraph(parse_graph(graph), {"1": PixelImage(rgba)}))
    mask = result.outputs[0].image.pixels
    assert mask[:, :4].max() == 0
    assert mask[:, 4:].min() == 255


def test_progress_comes_per_node_and_per_step_and_never_falls(runtime, photo):
    seen = []
    run(runtime, chain(photo, "TestSteps", steps=4, seconds=0.0), seen.append)
    steps = [event.step for event in seen if event.class_type == "TestSteps"]
    assert steps == [0, 1, 2, 3, 4]
    assert [event.title for event in seen if event.node_id == "2"] == ["The node"] * 5
    assert {event.class_type for event in seen} == {"LoadImage", "TestSteps", "SaveImage"}
    fractions = [event.fraction for event in seen]
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] < fractions[-1] <= 1


def test_cancellation_stops_within_one_step_and_the_next_job_runs(runtime, photo):
    cancellation = Cancellation(30)
    steps = []

    def cancel_at_third_step(event):
        steps.append(event.step)
        if event.step == 3:
            cancellation.cancel()

    patched = chain(photo, "TestSteps", steps=500, seconds=0.01)
    with pytest.raises(CancelledError) as caught:
        runtime.run(patched, cancellation, cancel_at_third_step)
    assert max(steps) == 3
    assert caught.value.details == {
        "node_id": "2",
        "class_type": "TestSteps",
        "title": "The node",
    }
    assert_next_job_runs(runtime, photo)


def test_cancellation_from_another_thread_stops_a_running_job(runtime, photo):
    cancellation = Cancellation(30)
    started = threading.Event()
    patched = chain(photo, "TestSteps", steps=1000, seconds=0.02)
    timer = threading.Thread(target=lambda: (started.wait(10), cancellation.cancel()))
    timer.start()
    with pytest.raises(CancelledError):
        runtime.run(patched, cancellation, lambda event: event.step > 1 and started.set())
    timer.join()
    assert_next_job_runs(runtime, photo)


@pytest.mark.parametrize(
    "kind", ["SystemExit", "KeyboardInterrupt", "CancelledError", "GeneratorExit", "Panic"]
)
@pytest.mark.fault(
    "A node raises an exception of any base, `KeyboardInterrupt` and a panic included",
    "the job fails as a node error; the next one runs",
)
def test_whatever_a_node_raises_ends_its_job_as_a_node_error(runtime, photo, kind):
    with pytest.raises(NodeError) as caught:
        run(runtime, chain(photo, "TestRaise", kind=kind))
    assert caught.value.details["node_id"] == "2"
    assert caught.value.details["type"] == kind
    assert_next_job_runs(runtime, photo)


def test_job_cancelled_before_it_starts_runs_nothing(runtime, photo):
    cancellation = Cancellation(30)
    cancellation.cancel()
    seen = []
    with pytest.raises(CancelledError):
        runtime.run(chain(photo, "ImageInvert"), cancellation, seen.append)
    assert seen == []


def test_job_cancelled_while_it_waits_leaves_the_running_one_alone(runtime, photo):
    results = {}
    running = threading.Event()

    def first():
        patched = chain(photo, "TestSteps", steps=40, seconds=0.02)
        results["first"] = run(runtime, patched, lambda event: event.step > 0 and running.set())

    thread = threading.Thread(target=first)
    thread.start()
    assert running.wait(10)
    waiting = Cancellation(30)
    threading.Timer(0.1, waiting.cancel).start()
    with pytest.raises(CancelledError):
        runtime.run(chain(photo, "ImageInvert"), waiting)
    thread.join(10)
    assert np.array_equal(results["first"].outputs[0].image.pixels, photo.pixels)


def test_deadline_stops_a_job_and_the_next_one_runs(runtime, photo):
    patched = chain(photo, "TestSteps", steps=1000, seconds=0.02)
    started = time.monotonic()
    with pytest.raises(DeadlineError) as caught:
        run(runtime, patched, timeout=0.3)
    assert time.monotonic() - started < SOON
    assert caught.value.retryable
    assert caught.value.details["timeout_seconds"] == 0.3
    assert_next_job_runs(runtime, photo)


def test_node_exception_names_the_node_and_the_next_job_runs(runtime, photo):
    with pytest.raises(NodeError, match="not to this node's liking") as caught:
        run(runtime, chain(photo, "TestRaise", kind="ValueError"))
    assert caught.value.code == "node_failed"
    assert caught.value.details == {
        "node_id": "2",
        "class_type": "TestRaise",
        "title": "The node",
        "type": "ValueError",
    }
    assert_next_job_runs(runtime, photo)


@pytest.mark.parametrize(
    ("kind", "of"),
    [
        ("torch.OutOfMemoryError", "The device"),
        ("torch.AcceleratorError", "The device"),
        ("RuntimeError of HIP", "The device"),
        ("the CPU's allocator", "The machine"),
        ("numpy's array", "The machine"),
        ("MemoryError", "The machine"),
    ],
)
@pytest.mark.fault(
    "A node runs out of memory",
    "the job fails with a code of its own; the next one runs",
)
def test_out_of_memory_is_told_apart_and_the_next_job_runs(runtime, photo, kind, of):
    with pytest.raises(OutOfMemoryError, match=f"^{of} ran out of memory") as caught:
        run(runtime, chain(photo, "TestRaise", kind=kind))
    assert caught.value.details["title"] == "The node"
    assert_next_job_runs(runtime, photo)


def test_run_interrupted_by_a_node_is_told_apart_and_the_next_job_runs(runtime, photo):
    with pytest.raises(NodeInterruptedError):
        run(runtime, chain(photo, "TestRaise", kind="interrupt"))
    assert_next_job_runs(runtime, photo)


def test_class_whose_check_takes_every_input_decides_for_itself(runtime, photo):
    run(runtime, chain(photo, "TestChecksItself", choice="made up by the front end"))
    with pytest.raises(GraphError, match="this choice is refused"):
        run(runtime, chain(photo, "TestChecksItself", choice="refused"))


def test_blocked_execution_fails_the_job_with_the_blocks_message(runtime, photo):
    with pytest.raises(NodeError, match="this image is refused"):
        run(runtime, chain(photo, "TestBlocked"))
    assert_next_job_runs(runtime, photo)


def test_picture_that_is_not_finite_fails_the_job(runtime, photo):
    with pytest.raises(NodeError, match="not finite"):
        run(runtime, chain(photo, "TestNotANumber"))


@pytest.fixture
def until(tmp_path):
    """The file that a stubborn node waits for; it is there at the end."""
    path = tmp_path / "until"
    yield path
    path.touch()


@pytest.fixture
def breakable_runtime(booted, until, photo):
    """A runtime of the test's own: the session's must go on."""
    breakable = InProcessRuntime(
        booted.runtime._server,
        comfy.make_executor(booted.runtime._server, 0),
        booted.runtime._scratch,
        stop_grace=0.2,
    )
    yield breakable
    until.touch()
    breakable.close()
    comfy.install_progress_hook(booted.runtime._on_step)
    booted.runtime._server.sink = booted.runtime._on_event
    assert_next_job_runs(booted.runtime, photo)


def test_node_that_does_not_stop_makes_the_worker_count_as_broken(breakable_runtime, photo, until):
    with pytest.raises(WorkerBrokenError) as caught:
        run(breakable_runtime, chain(photo, "TestStubborn", until=str(until)), timeout=0.2)
    assert caught.value.details["node_id"] == "2"
    assert breakable_runtime.broken
    with pytest.raises(WorkerBrokenError):
        run(breakable_runtime, chain(photo, "ImageInvert"))


@pytest.mark.slow
def test_time_limit_stands_still_while_the_run_waits_for_the_device(runtime, photo):
    ahead = chain(photo, "TestSteps", steps=20, seconds=0.1)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(run, runtime, ahead)
        wait_until(lambda: runtime._watch is not None)
        # Less than the first one takes.
        second = run(runtime, chain(photo, "ImageInvert"), timeout=1.0)
        first.result(30)
    assert second.queue_seconds > 1.0


@pytest.mark.slow
@pytest.mark.fault(
    "A job waits behind one that does not stop",
    "it ends too",
)
def test_run_behind_one_that_does_not_stop_ends_too(breakable_runtime, photo, until):
    with ThreadPoolExecutor(1) as threads:
        stuck = chain(photo, "TestStubborn", until=str(until))
        first = threads.submit(run, breakable_runtime, stuck, timeout=0.5)
        wait_until(lambda: breakable_runtime._watch is not None)
        with pytest.raises(WorkerBrokenError):
            run(breakable_runtime, chain(photo, "ImageInvert"), timeout=3600)
        with pytest.raises(WorkerBrokenError):
            first.result(10)


@pytest.mark.fault(
    "A node does not stop after a cancellation",
    "after the grace the worker counts as broken",
)
def test_grace_to_stop_counts_from_a_cancellation_not_from_the_deadline(
    breakable_runtime, photo, until
):
    cancellation = Cancellation(3600)

    def cancel_in_the_node():
        while not Path(f"{until}.waiting").exists():
            time.sleep(0.01)
        cancellation.cancel()

    thread = threading.Thread(target=cancel_in_the_node, daemon=True)
    thread.start()
    # The test's own time limit is far below the hour that the job had left.
    with pytest.raises(WorkerBrokenError) as caught:
        breakable_runtime.run(chain(photo, "TestStubborn", until=str(until)), cancellation)
    thread.join()
    assert caught.value.details["class_type"] == "TestStubborn"
    assert breakable_runtime.broken


def test_node_outputs_stay_cached_from_job_to_job(runtime, photo, tmp_path):
    def patched(picture):
        graph = {
            "1": {"class_type": "LoadImage", "inputs": {"image": "photo.png"}},
            "4": {"class_type": "TestCountCalls", "inputs": {"counter": str(tmp_path / "count")}},
            "2": {"class_type": "TestBrighten", "inputs": {"image": ["1", 0], "by": ["4", 0]}},
            "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0]}},
        }
        return PatchedGraph(parse_graph(graph), {"1": picture})

    first = run(runtime, patched(photo))
    assert first.cached_nodes == ()
    other = PixelImage(255 - photo.pixels)
    second = run(runtime, patched(other))
    assert second.cached_nodes == ("4",)
    assert (tmp_path / "count").read_text() == "1"
    assert np.array_equal(second.outputs[0].image.pixels, other.pixels)


def test_identical_job_is_answered_from_the_cache_with_the_same_picture(runtime, photo):
    first = run(runtime, chain(photo, "ImageInvert"))
    second = run(runtime, chain(photo, "ImageInvert"))
    assert set(second.cached_nodes) == {"1", "2", "3"}
    assert np.array_equal(first.outputs[0].image.pixels, second.outputs[0].image.pixels)


def test_files_of_output_nodes_are_collected_and_removed_each_time(runtime, photo):
    graph = chain(photo, "ImageInvert").graph.to_api()
    graph["9"] = {"class_type": "TestSaveText", "inputs": {"text": "hello"}}
    patched = PatchedGraph(parse_graph(graph), {"1": photo})
    for _ in range(2):
        picture, text = run(runtime, patched).outputs
        assert isinstance(picture, ImageOutput)
        assert text == FileOutput("9", "note.txt", b"hello")
        assert list((runtime._scratch / "output").iterdir()) == []


def test_what_a_saved_picture_is_linked_to_runs_on(runtime, photo):
    graph = chain(photo, "ImageInvert").graph.to_api()
    graph["4"] = {"class_type": "ImageInvert", "inputs": {"image": ["3", 0]}}
    graph["5"] = {"class_type": "SaveImage", "inputs": {"images": ["4", 0]}}
    first, second = run(runtime, PatchedGraph(parse_graph(graph), {"1": photo})).outputs
    assert (first.node_id, second.node_id) == ("3", "5")
    assert np.abs(photo.pixels.astype(int) - second.image.pixels).max() <= 1


@pytest.mark.parametrize(("bit_depth", "kind"), [("8-bit", ImageOutput), ("16-bit", FileOutput)])
def test_pictures_of_the_advanced_node_are_collected_and_can_be_linked_to(
    runtime, photo, bit_depth, kind
):
    if "SaveImageAdvanced" not in runtime.node_classes():
        pytest.skip("this ComfyUI is older than the node")
    returns_images = bool(comfy.node_classes()["SaveImageAdvanced"].RETURN_TYPES)
    if kind is FileOutput and not returns_images:
        pytest.skip("nothing can be linked to the node of this ComfyUI")
    graph = chain(photo, "ImageInvert").graph.to_api()
    graph["3"] = {
        "class_type": "SaveImageAdvanced",
        "inputs": {
            "images": ["2", 0],
            "filename_prefix": "x",
            "format": "png",
            "format.bit_depth": bit_depth,
            "format.input_color_space": "sRGB",
        },
    }
    graph["4"] = {"class_type": "ImageInvert", "inputs": {"image": ["3", 0]}}
    graph["5"] = {"class_type": "SaveImage", "inputs": {"images": ["4", 0]}}
    outputs = run(runtime, PatchedGraph(parse_graph(graph), {"1": photo})).outputs
    assert {(output.node_id, type(output)) for output in outputs} == {
        ("3", kind),
        ("5", ImageOutput),
    }


def test_file_outside_comfyuis_folders_is_not_taken(runtime, tmp_path):
    (tmp_path / "secret").write_text("secret")
    graph = {"1": {"class_type": "TestSaveElsewhere", "inputs": {"name": str(tmp_path / "secret")}}}
    assert run(runtime, PatchedGraph(parse_graph(graph), {})).outputs == ()


def test_every_picture_of_a_batch_is_an_output(runtime, photo):
    patched = chain(photo, "RepeatImageBatch", amount=3)
    assert len(run(runtime, patched).outputs) == 3


def test_unknown_node_class_is_an_error_that_names_node_and_class(runtime, photo):
    with pytest.raises(MissingNodeClassError, match="NoSuchNode") as caught:
        run(runtime, chain(photo, "NoSuchNode"))
    assert caught.value.details == {"node_id": "2", "class_type": "NoSuchNode"}


def test_unknown_node_class_is_named_with_its_pack_where_the_workflow_names_one(runtime, photo):
    patched = replace(chain(photo, "NoSuchNode"), node_packs={"NoSuchNode": "some-pack"})
    with pytest.raises(MissingNodeClassError, match="Install the pack some-pack below") as caught:
        run(runtime, patched)
    assert caught.value.details == {
        "node_id": "2",
        "class_type": "NoSuchNode",
        "pack": "some-pack",
    }


def test_missing_model_is_an_error_that_names_file_and_node(runtime, photo):
    graph = chain(photo, "ImageInvert").graph.to_api()
    graph["5"] = {
        "class_type": "UpscaleModelLoader",
        "inputs": {"model_name": "4x-nowhere.safetensors"},
        "_meta": {"title": "Upscaler"},
    }
    graph["2"] = {
        "class_type": "ImageUpscaleWithModel",
        "inputs": {"image": ["1", 0], "upscale_model": ["5", 0]},
    }
    with pytest.raises(MissingModelError, match=r"4x-nowhere\.safetensors.*node 5 \(Upscaler\)"):
        run(runtime, PatchedGraph(parse_graph(graph), {"1": photo}))


def loader_graph(photo: PixelImage, file: str, *uses: ModelUse) -> PatchedGraph:
    graph = chain(photo, "ImageInvert").graph.to_api()
    graph["5"] = {
        "class_type": "UpscaleModelLoader",
        "inputs": {"model_name": file},
        "_meta": {"title": "Upscaler"},
    }
    graph["2"] = {
        "class_type": "ImageUpscaleWithModel",
        "inputs": {"image": ["1", 0], "upscale_model": ["5", 0]},
    }
    return PatchedGraph(parse_graph(graph), {"1": photo}, uses)


@pytest.fixture
def write_model(booted):
    folder = booted.base_dir / "models" / "upscale_models"
    folder.mkdir(exist_ok=True)
    written = []

    def write(name: str, tensors: dict[str, np.ndarray], cut: int = 0) -> None:
        path = folder / name
        save_file(tensors, path)
        if cut:
            path.write_bytes(path.read_bytes()[:-cut])
        written.append(path)

    yield write
    for path in written:
        path.unlink(missing_ok=True)


def test_truncated_model_fails_before_anything_runs_and_names_file_and_node(
    runtime, photo, write_model
):
    write_model("cut.safetensors", {"weight": np.zeros(100, dtype=np.float32)}, cut=8)
    use = ModelUse("5", Model(folder="upscale_models", file="cut.safetensors"))
    seen = []
    with pytest.raises(ModelError, match=r"cut\.safetensors.*Node 5 \(Upscaler\)") as caught:
        run(runtime, loader_graph(photo, "cut.safetensors", use), seen.append)
    assert caught.value.details["node_id"] == "5"
    assert seen == []


def test_model_of_another_architecture_fails_before_anything_runs(runtime, photo, write_model):
    write_model("other.safetensors", {"conv.weight": np.zeros((4, 3), dtype=np.float32)})
    model = Model(
        folder="upscale_models", file="other.safetensors", tensors={"conv.weight": (64, 3)}
    )
    with pytest.raises(ModelError, match=r"another architecture.*\(64, 3\).*\(4, 3\)"):
        run(runtime, loader_graph(photo, "other.safetensors", ModelUse("5", model)))


def test_model_that_was_mended_is_checked_anew(runtime, photo, write_model):
    name = "mended.safetensors"
    use = ModelUse("5", Model(folder="upscale_models", file=name))
    write_model(name, {"weight": np.zeros(100, dtype=np.float32)}, cut=8)
    with pytest.raises(ModelError, match="bytes where its header says"):
        run(runtime, loader_graph(photo, name, use))
    write_model(name, {"weight": np.zeros(90, dtype=np.float32)})
    # It is whole now, though no upscaler: the loader says so when it runs.
    with pytest.raises(NodeError):
        run(runtime, loader_graph(photo, name, use))


def test_error_in_one_branch_fails_the_job_though_another_output_is_valid(runtime, photo):
    graph = chain(photo, "ImageBlur", blur_radius=999, sigma=1.0).graph.to_api()
    graph["9"] = {"class_type": "TestSaveText", "inputs": {"text": "hello"}}
    with pytest.raises(GraphError, match="blur_radius") as caught:
        run(runtime, PatchedGraph(parse_graph(graph), {"1": photo}))
    assert caught.value.details["node_id"] == "2"
    assert caught.value.details["input"] == "blur_radius"


def test_error_in_a_node_that_leads_to_no_output_fails_the_job(runtime, photo):
    graph = chain(photo, "ImageInvert").graph.to_api()
    graph["9"] = {
        "class_type": "ImageBlur",
        "inputs": {"image": ["1", 0], "blur_radius": 999, "sigma": 1.0},
    }
    with pytest.raises(GraphError, match="node 9"):
        run(runtime, PatchedGraph(parse_graph(graph), {"1": photo}))


def test_value_not_in_list_says_what_is_allowed(runtime, photo):
    patched = chain(photo, "ImageQuantize", colors=8, dither="sideways")
    with pytest.raises(GraphError) as caught:
        run(runtime, patched)
    assert "none" in caught.value.details["allowed"]


def test_graph_without_an_output_node_is_refused(runtime, photo):
    graph = {"1": {"class_type": "LoadImage", "inputs": {"image": "photo.png"}}}
    with pytest.raises(GraphError, match="no outputs"):
        run(runtime, PatchedGraph(parse_graph(graph), {"1": photo}))


def test_jobs_from_many_threads_run_one_at_a_time_in_order(runtime, photo):
    order = []
    threads = []
    for number in range(5):

        def work(number=number):
            patched = chain(photo, "TestSteps", steps=number + 1, seconds=0.01)
            run(runtime, patched, lambda event: order.append(number))

        thread = threading.Thread(target=work)
        thread.start()
        threads.append(thread)
        time.sleep(0.005)
    for thread in threads:
        thread.join(20)
    assert order == sorted(order)
    assert set(order) == set(range(5))
