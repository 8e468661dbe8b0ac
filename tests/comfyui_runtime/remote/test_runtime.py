"""The runtime on ComfyUI's own server, which runs as a child process."""

from __future__ import annotations

import http.server
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import requests
from media_support import video
from runtime_support import assert_next_job_runs, chain, run
from server_support.tcp_relay import TcpRelay

from comfyui_runtime.errors import (
    CancelledError,
    DeadlineError,
    GraphError,
    MissingModelError,
    MissingNodeClassError,
    NodeError,
    NodeInterruptedError,
    OutOfMemoryError,
    ServerUnreachableError,
)
from comfyui_runtime.in_process.comfy import read_source
from comfyui_runtime.remote import client
from comfyui_runtime.remote.runtime import ServerRuntime
from comfyui_runtime.run.cancellation import Cancellation
from comfyui_runtime.run.outputs import FileOutput, TextOutput
from comfyui_runtime.workflow.files import FILE_LOADERS, FileUse, InputFile
from comfyui_runtime.workflow.graph import parse_graph
from comfyui_runtime.workflow.images import PixelImage
from comfyui_runtime.workflow.patch import PatchedGraph


@pytest.fixture
def runtime(server_url) -> ServerRuntime:
    return ServerRuntime(server_url, stop_grace=10.0)


@pytest.fixture
def relay(server_url):
    relay = TcpRelay(server_url)
    yield relay
    relay.close()


def test_picture_comes_out_as_the_nodes_made_it(runtime, photo, comfyui_dir):
    assert runtime.comfyui_version() == read_source(comfyui_dir).version
    assert_next_job_runs(runtime, photo)
    assert runtime.busy_seconds > 0
    assert not runtime.broken


def test_results_are_left_in_no_folder_of_the_servers_user(runtime, photo, server_base_dir):
    def left() -> set[Path]:
        return {
            path for name in ("output", "input") for path in (server_base_dir / name).rglob("*")
        }

    before = left()
    run(runtime, chain(photo, "ImageInvert"))
    assert left() == before


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
    result = run(runtime, chain(photo, "TestSteps", steps=4, seconds=0.01), seen.append)
    steps = [event.step for event in seen if event.class_type == "TestSteps"]
    assert steps == sorted(steps)
    assert {0, 1, 4} <= set(steps), "newer servers leave some out"
    fractions = [event.fraction for event in seen]
    assert fractions == sorted(fractions)
    assert set(result.node_seconds) == {"1", "2", "3"}
    assert result.run_seconds >= 0.04


def test_files_of_output_nodes_come_too_and_every_time(runtime, photo):
    graph = chain(photo, "ImageInvert").graph.to_api()
    graph["9"] = {"class_type": "TestSaveText", "inputs": {"text": "hello"}}
    for _ in range(2):
        picture, text = run(runtime, PatchedGraph(parse_graph(graph), {"1": photo})).outputs
        assert picture.image.width == photo.width
        assert text == FileOutput("9", "note.txt", b"hello")


def test_a_large_file_of_the_servers_is_on_the_disk_until_it_is_discarded(
    runtime, photo, monkeypatch
):
    monkeypatch.setattr(client, "MAX_IN_MEMORY", 2)
    graph = chain(photo, "ImageInvert").graph.to_api()
    graph["9"] = {"class_type": "TestSaveText", "inputs": {"text": "hello"}}
    result = run(runtime, PatchedGraph(parse_graph(graph), {"1": photo}))
    picture, text = result.outputs
    assert picture.image.width == photo.width
    assert text.data.read_bytes() == b"hello"
    result.discard()
    assert not text.data.exists()


def test_a_video_and_a_mask_go_to_the_server_and_a_text_comes_back(runtime, tmp_path):
    path = tmp_path / "0"
    path.write_bytes(video())
    use = FileUse(InputFile(path, "d" * 64, "mp4"), FILE_LOADERS["LoadVideo"])
    graph = {
        "1": {"class_type": "LoadVideo", "inputs": {"file": "a.mp4"}},
        "2": {"class_type": "GetVideoComponents", "inputs": {"video": ["1", 0]}},
        "3": {"class_type": "PreviewAny", "inputs": {"source": ["2", 2]}},
        "4": {"class_type": "LoadImageMask", "inputs": {"image": "m.png", "channel": "red"}},
        "5": {"class_type": "MaskToImage", "inputs": {"mask": ["4", 0]}},
        "6": {"class_type": "PreviewImage", "inputs": {"images": ["5", 0]}},
    }
    mask = PixelImage(np.full((8, 8, 3), (200, 9, 9), dtype=np.uint8))
    patched = PatchedGraph(parse_graph(graph), {"4": mask}, files={"1": use})
    picture, text = run(runtime, patched).outputs
    assert picture.image.pixels[0, 0, 0] == 200
    assert text == TextOutput("3", "8.0")


def test_a_loader_that_takes_a_path_is_refused_with_the_reason(runtime, tmp_path):
    use = FileUse(InputFile(tmp_path / "0", "d", "mp4"), FILE_LOADERS["VHS_LoadVideoPath"])
    graph = {"1": {"class_type": "VHS_LoadVideoPath", "inputs": {"video": "a.mp4"}}}
    with pytest.raises(GraphError, match="COMFYUI_SERVER_URL"):
        run(runtime, PatchedGraph(parse_graph(graph), {}, files={"1": use}))


def test_jobs_from_many_threads_each_get_their_own_picture(runtime):
    results = {}

    def job(number):
        pixels = np.full((8, 8, 3), number * 10, dtype=np.uint8)
        result = run(runtime, chain(PixelImage(pixels), "ImageInvert"))
        results[number] = int(result.outputs[0].image.pixels[0, 0, 0])

    threads = [threading.Thread(target=job, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all(abs(results[number] - (255 - number * 10)) <= 1 for number in range(6))


@pytest.mark.parametrize(
    ("kind", "error", "details"),
    [
        ("ValueError", NodeError, {"type": "ValueError"}),
        ("torch.OutOfMemoryError", OutOfMemoryError, {}),
        ("interrupt", NodeInterruptedError, {}),
    ],
)
def test_failure_of_a_node_is_told_apart_and_the_next_job_runs(
    runtime, photo, kind, error, details
):
    with pytest.raises(error) as caught:
        run(runtime, chain(photo, "TestRaise", kind=kind))
    assert type(caught.value) is error
    place = {"node_id": "2", "class_type": "TestRaise", "title": "The node"}
    assert caught.value.details == place | details
    assert_next_job_runs(runtime, photo)


def test_blocked_execution_fails_the_job_with_the_blocks_message(runtime, photo):
    with pytest.raises(NodeError, match="this image is refused"):
        run(runtime, chain(photo, "TestBlocked"))


def test_cancellation_stops_a_running_job_and_the_next_one_runs(runtime, photo):
    cancellation = Cancellation(60)
    steps = []

    def cancel_at_third_step(event):
        steps.append(event.step)
        if event.step >= 3:
            cancellation.cancel()

    patched = chain(photo, "TestSteps", steps=1000, seconds=0.05)
    with pytest.raises(CancelledError) as caught:
        runtime.run(patched, cancellation, cancel_at_third_step)
    assert max(steps) < 100
    assert caught.value.details["node_id"] == "2"
    assert_next_job_runs(runtime, photo)


@pytest.mark.slow
def test_deadline_stops_a_job_and_the_next_one_runs(runtime, photo):
    with pytest.raises(DeadlineError):
        run(runtime, chain(photo, "TestSteps", steps=1000, seconds=0.05), timeout=1.5)
    assert_next_job_runs(runtime, photo)


@pytest.mark.slow
def test_job_cancelled_while_it_waits_leaves_the_running_one_alone(runtime, photo):
    results = {}
    running = threading.Event()

    def first():
        patched = chain(photo, "TestSteps", steps=60, seconds=0.05)
        results["first"] = run(runtime, patched, lambda event: event.step > 0 and running.set())

    thread = threading.Thread(target=first)
    thread.start()
    assert running.wait(30)
    waiting = Cancellation(60)
    threading.Timer(0.3, waiting.cancel).start()
    with pytest.raises(CancelledError):
        runtime.run(chain(photo, "ImageInvert"), waiting)
    thread.join(60)
    assert np.array_equal(results["first"].outputs[0].image.pixels, photo.pixels)


@pytest.mark.slow
def test_node_that_does_not_stop_ends_its_job_after_the_grace_period(server_url, photo, tmp_path):
    runtime = ServerRuntime(server_url, stop_grace=1.0)
    release = tmp_path / "release"
    try:
        with pytest.raises(DeadlineError):
            run(runtime, chain(photo, "TestStubborn", until=str(release)), timeout=1.0)
    finally:
        release.touch()
    assert_next_job_runs(runtime, photo)


def test_unknown_node_class_is_an_error_that_names_node_and_class(runtime, photo):
    with pytest.raises(MissingNodeClassError, match="NoSuchNode") as caught:
        run(runtime, chain(photo, "NoSuchNode"))
    assert caught.value.details == {"node_id": "2", "class_type": "NoSuchNode"}


def test_missing_model_is_an_error_that_names_file_and_node(runtime, photo):
    graph = chain(photo, "ImageInvert").graph.to_api()
    graph["5"] = {
        "class_type": "CheckpointLoaderSimple",
        "inputs": {"ckpt_name": "nowhere.safetensors"},
        "_meta": {"title": "Checkpoint"},
    }
    graph["6"] = {"class_type": "VAEDecode", "inputs": {"samples": ["7", 0], "vae": ["5", 2]}}
    graph["7"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["2", 0], "vae": ["5", 2]}}
    graph["3"]["inputs"]["images"] = ["6", 0]
    with pytest.raises(MissingModelError, match=r"nowhere\.safetensors.*node 5 \(Checkpoint\)"):
        run(runtime, PatchedGraph(parse_graph(graph), {"1": photo}))


def test_error_in_one_branch_fails_the_job_though_another_output_is_valid(runtime, photo):
    graph = chain(photo, "ImageBlur", blur_radius=999, sigma=1.0).graph.to_api()
    graph["9"] = {"class_type": "TestSaveText", "inputs": {"text": "hello"}}
    with pytest.raises(GraphError, match="blur_radius") as caught:
        run(runtime, PatchedGraph(parse_graph(graph), {"1": photo}))
    assert caught.value.details["node_id"] == "2"
    assert_next_job_runs(runtime, photo)


def test_value_not_in_a_list_that_comfyui_does_not_check_says_what_is_allowed(runtime, photo):
    with pytest.raises(GraphError) as caught:
        run(runtime, chain(photo, "ImageQuantize", colors=8, dither="sideways"))
    assert "none" in caught.value.details["allowed"]


def test_graph_without_an_output_node_is_refused(runtime, photo):
    graph = {"1": {"class_type": "LoadImage", "inputs": {"image": "photo.png"}}}
    with pytest.raises(GraphError, match="no outputs"):
        run(runtime, PatchedGraph(parse_graph(graph), {"1": photo}))


@pytest.mark.slow
def test_job_goes_on_when_the_socket_is_lost_while_it_runs(relay, photo):
    runtime = ServerRuntime(relay.url)
    cut = threading.Event()

    def cut_at_second_step(event):
        if event.step >= 2 and not cut.is_set():
            cut.set()
            relay.cut_web_sockets()

    patched = chain(photo, "TestSteps", steps=60, seconds=0.1)
    result = run(runtime, patched, cut_at_second_step)
    assert cut.is_set()
    assert relay.connections > 1
    assert np.array_equal(result.outputs[0].image.pixels, photo.pixels)


@pytest.mark.slow
def test_job_ends_though_its_closing_message_is_lost(relay, photo):
    runtime = ServerRuntime(relay.url)

    def fall_silent(event):
        relay.silent = True

    result = run(runtime, chain(photo, "TestSteps", steps=3, seconds=0.1), fall_silent)
    assert relay.connections == 1
    assert np.array_equal(result.outputs[0].image.pixels, photo.pixels)


@pytest.mark.slow
def test_failure_is_told_though_its_message_is_lost(relay, photo):
    runtime = ServerRuntime(relay.url)

    def fall_silent(event):
        relay.silent = True

    with pytest.raises(NodeError, match="not to this node's liking") as caught:
        run(runtime, chain(photo, "TestRaise", kind="ValueError"), fall_silent)
    assert caught.value.details["title"] == "The node"


@pytest.mark.slow
def test_job_that_the_server_has_forgotten_is_an_error_that_can_be_retried(
    server_url, runtime, photo
):
    blocker = Cancellation(60)
    running = threading.Event()
    errors = []

    def block():
        patched = chain(photo, "TestSteps", steps=900, seconds=0.05)
        with pytest.raises(CancelledError):
            runtime.run(patched, blocker, lambda event: event.step > 0 and running.set())

    def wait():
        with pytest.raises(ServerUnreachableError) as caught:
            run(runtime, chain(photo, "ImageInvert"))
        errors.append(caught.value)

    threads = [threading.Thread(target=target) for target in (block, wait)]
    threads[0].start()
    assert running.wait(30)
    threads[1].start()
    give_up_at = time.monotonic() + 20
    while not requests.get(f"{server_url}/queue", timeout=10).json()["queue_pending"]:
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
    requests.post(f"{server_url}/queue", json={"clear": True}, timeout=10)
    threads[1].join(30)
    blocker.cancel()
    threads[0].join(30)
    assert errors[0].retryable


def test_server_that_is_not_there_is_an_error_that_says_what_to_do(photo):
    runtime = ServerRuntime("http://127.0.0.1:9", timeout=2.0)
    with pytest.raises(ServerUnreachableError, match="COMFYUI_SERVER_URL"):
        run(runtime, chain(photo, "ImageInvert"))


def test_answer_of_something_else_is_not_taken_for_a_comfyui_server():
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, *args):
            pass

    page = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=page.serve_forever, args=(0.01,))
    thread.start()
    try:
        runtime = ServerRuntime(f"http://127.0.0.1:{page.server_port}")
        with pytest.raises(ServerUnreachableError, match="not a ComfyUI server"):
            runtime.comfyui_version()
    finally:
        page.shutdown()
        page.server_close()
        thread.join()
