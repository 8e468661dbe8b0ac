from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from places import PROJECT, TESTS, WORKFLOWS
from platforms_support.control_plane import ControlPlane

from handler.contract.event import Event


def photo() -> str:
    file = BytesIO()
    Image.new("RGB", (32, 24), (10, 200, 30)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


@pytest.fixture(scope="module")
def environment(tmp_path_factory, comfyui_dir):
    """The environment of a worker on the CPU that knows the tests' nodes and workflows."""
    folder = tmp_path_factory.mktemp("worker")
    (folder / "base").mkdir()
    (folder / "base" / "custom_nodes").symlink_to(TESTS / "node_packs")
    return {
        **os.environ,
        "COMFYUI_DIR": str(comfyui_dir),
        "COMFYUI_BASE_DIR": str(folder / "base"),
        "COMFYUI_DEVICE": "cpu",
        "WORKFLOWS_DIR": str(WORKFLOWS),
        "RESULTS_DIR": str(folder / "results"),
        "STOP_GRACE_SECONDS": "1",
        "PYTHONPATH": str(PROJECT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@dataclass
class Worker:
    """A worker in a process group of its own: the SDK pings from a second process."""

    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def start(cls, environment, folder: Path, *arguments: str) -> Worker:
        log = folder / "worker.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "handler", "runpod", *arguments],
                env=environment,
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return cls(process, log)

    def ended(self, timeout: float = 120) -> tuple[int, str]:
        """Wait for the end; return status and output."""
        return self.process.wait(timeout), self.log.read_text()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


@pytest.fixture(scope="module")
def plane():
    plane = ControlPlane()
    yield plane
    plane.close()


@pytest.fixture(scope="module")
def worker(plane, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cwd")
    worker = Worker.start({**environment, **plane.environment()}, folder)
    yield worker
    worker.kill()


def job(workflow: str, **params: object) -> dict[str, object]:
    return {"workflow": workflow, "image": photo(), "params": params}


@pytest.mark.slow
@pytest.mark.usefixtures("worker")
class TestWorkerLoop:
    @pytest.mark.slow
    def test_job_is_taken_and_its_result_posted(self, plane):
        plane.submit("good", job("invert"))
        output = plane.result("good", timeout=120)["output"]
        assert output["status"] == "succeeded"
        assert output["job_id"] == "good"
        assert output["outputs"][0]["url"].startswith("file://")

    @pytest.mark.slow
    def test_progress_of_a_long_job_is_posted_while_it_runs(self, plane):
        plane.submit("long", job("steps", steps=30, seconds=0.1))
        progress = plane.wait_for(
            lambda job_id, body: job_id == "long" and body.get("status") == "IN_PROGRESS"
        )
        assert progress["output"]["phase"] == "run"
        assert progress["output"]["node"] == "Steps"
        assert 0 < progress["output"]["fraction"] < 1
        assert plane.result("long")["output"]["status"] == "succeeded"

    @pytest.mark.slow
    def test_failing_job_is_posted_as_failed_with_its_code(self, plane):
        plane.submit("bad", job("fail"))
        posted = plane.result("bad")
        error = json.loads(posted["error"])
        assert error["code"] == "node_failed"
        assert error["retryable"] is False
        assert error["details"]["title"] == "Failing"
        assert "stopPod" not in posted

    def test_broken_event_is_posted_as_failed(self, plane):
        plane.submit("broken", {"workflow": 5})
        assert json.loads(plane.result("broken")["error"])["code"] == "invalid_event"

    @pytest.mark.slow
    def test_stopped_job_frees_the_device_for_the_next(self, plane):
        plane.submit("endless", job("steps", steps=1000, seconds=0.1))
        plane.wait_for(lambda job_id, body: job_id == "endless")
        plane.stops.put("endless")
        plane.submit("after", job("invert"))
        assert plane.result("after", timeout=30)["output"]["status"] == "succeeded"

    def test_worker_pings(self, plane):
        deadline = time.monotonic() + 20
        while not plane.pings and time.monotonic() < deadline:
            time.sleep(0.1)
        assert plane.pings

    @pytest.mark.slow
    def test_job_is_left_to_other_workers_until_the_device_is_nearly_free(self, plane):
        before = len(plane.taken_at)
        for number in range(3):
            plane.submit(f"paced-{number}", job("steps", steps=20 + number, seconds=0.05))
        for number in range(3):
            assert plane.result(f"paced-{number}")["output"]["status"] == "succeeded"
        first, second, third = plane.taken_at[before:]
        assert second - first > 0.5
        assert third - second > 0.5

    @pytest.mark.slow
    def test_sigterm_ends_the_running_job_well_and_the_worker(self, plane, worker):
        plane.submit("last", job("steps", steps=15, seconds=0.1))
        plane.wait_for(lambda job_id, body: job_id == "last")
        worker.process.send_signal(signal.SIGTERM)
        status, output = worker.ended()
        assert status == 0, output
        assert plane.result("last", timeout=1)["output"]["status"] == "succeeded"


WORKER_GRAPH = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "dot.png"}},
    "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "result"}},
}


def worker_input(**more: object) -> dict[str, object]:
    """What clients of worker-comfyui send."""
    image = {"name": "dot.png", "image": f"data:image/png;base64,{photo()}"}
    return {"workflow": WORKER_GRAPH, "images": [image]} | more


@pytest.mark.slow
def test_clients_of_worker_comfyui_are_answered_as_they_expect(environment, tmp_path):
    plane = ControlPlane()
    theirs = {"REFRESH_WORKER": "false", "COMFY_LOG_LEVEL": "debug", "NETWORK_VOLUME_DEBUG": "true"}
    worker = Worker.start({**environment, **plane.environment(), **theirs}, tmp_path)
    try:
        plane.submit("graph", worker_input())
        (image,) = plane.result("graph", timeout=120)["output"]["images"]
        assert (image["filename"], image["type"]) == ("result_00001_.png", "base64")
        pixels = Image.open(BytesIO(base64.b64decode(image["data"])))
        assert pixels.getpixel((0, 0)) in {(245, 54, 225), (245, 55, 225)}
        plane.submit("text", json.dumps(worker_input()))
        assert len(plane.result("text")["output"]["images"]) == 1
        broken = {**WORKER_GRAPH, "2": {"class_type": "NoSuchNode", "inputs": {}}}
        plane.submit("broken", worker_input(workflow=broken, comfy_org_api_key="comfyui-secret"))
        posted = plane.result("broken")
        assert "NoSuchNode" in posted["error"]
        assert "code: missing_node_class" in posted["output"]["details"]
        worker.process.send_signal(signal.SIGTERM)
        _, output = worker.ended(60)
        assert "models folder" in output
        assert "comfyui-secret" not in output
    finally:
        worker.kill()
        plane.close()


@pytest.mark.slow
def test_worker_is_replaced_after_each_job_where_asked_for(environment, tmp_path):
    plane = ControlPlane()
    refreshing = {**environment, **plane.environment(), "REFRESH_WORKER": "true"}
    worker = Worker.start(refreshing, tmp_path)
    try:
        plane.submit("one", worker_input())
        posted = plane.result("one", timeout=120)
        assert posted["stopPod"] is True
        assert len(posted["output"]["images"]) == 1
    finally:
        worker.kill()
        plane.close()


@pytest.mark.slow
def test_worker_beyond_repair_asks_to_be_replaced(environment, tmp_path):
    plane = ControlPlane()
    settings = {"JOB_TIMEOUT_SECONDS": "1", "STOP_GRACE_SECONDS": "0.5"}
    worker = Worker.start({**environment, **plane.environment(), **settings}, tmp_path)
    try:
        plane.submit("stuck", job("stubborn"))
        posted = plane.result("stuck", timeout=120)
        assert json.loads(posted["error"])["code"] == "worker_broken"
        assert posted["stopPod"] is True
    finally:
        worker.kill()
        plane.close()


@pytest.mark.slow
def test_idle_worker_that_a_stopped_job_left_broken_ends_to_be_replaced(environment, tmp_path):
    plane = ControlPlane()
    worker = Worker.start(
        {**environment, **plane.environment(), "STOP_GRACE_SECONDS": "0.5"}, tmp_path
    )
    try:
        plane.submit("first", job("invert"))
        plane.result("first", timeout=120)
        plane.submit("stuck", job("stubborn"))
        plane.wait_for_takes(2)
        time.sleep(2)  # the node says nothing when it begins
        plane.stops.put("stuck")
        status, output = worker.ended(60)
    finally:
        worker.kill()
        plane.close()
    assert status == 1, output
    assert "worker is broken and ends" in output


@pytest.mark.slow
def test_outputs_and_addresses_are_not_logged(environment, tmp_path):
    plane = ControlPlane()
    worker = Worker.start({**environment, **plane.environment()}, tmp_path)
    try:
        plane.submit("quiet", job("invert"))
        url = plane.result("quiet", timeout=120)["output"]["outputs"][0]["url"]
        worker.process.send_signal(signal.SIGTERM)
        _, output = worker.ended(60)
    finally:
        worker.kill()
        plane.close()
    assert "Started." in output
    assert url not in output


@pytest.mark.slow
def test_worker_without_a_gpu_stops_before_it_takes_a_job(environment, tmp_path):
    plane = ControlPlane()
    plane.submit("waiting", job("invert"))
    without_gpu = {**environment, **plane.environment(), "COMFYUI_DEVICE": "cuda"}
    without_gpu["CUDA_VISIBLE_DEVICES"] = ""
    worker = Worker.start(without_gpu, tmp_path)
    status, output = worker.ended()
    plane.close()
    assert status == 1
    assert '"code": "no_gpu"' in output
    assert plane.taken_at == []


@pytest.mark.slow
def test_test_input_runs_one_job(environment, tmp_path):
    text = json.dumps({"input": job("invert")})
    status, output = Worker.start(environment, tmp_path, "--test_input", text).ended()
    assert status == 0, output
    assert "completed successfully" in output
    assert "'status': 'succeeded'" in output


@pytest.mark.slow
def test_failing_test_input_ends_with_status_one(environment, tmp_path):
    text = json.dumps({"input": job("fail")})
    status, output = Worker.start(environment, tmp_path, "--test_input", text).ended()
    assert status == 1
    assert "node_failed" in output


@pytest.mark.slow
def test_local_api_server_answers_curl(environment, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ("--rp_serve_api", "--rp_api_port", str(port), "--rp_api_host", "127.0.0.1")
    worker = Worker.start(environment, tmp_path, *arguments)
    try:
        _wait_for_port(port)
        body = json.dumps({"input": job("invert")})
        done = subprocess.run(
            ["curl", "-sS", "-X", "POST", f"http://127.0.0.1:{port}/runsync",
             "-H", "Content-Type: application/json", "-d", body],
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        answer = json.loads(done.stdout)
        assert answer["status"] == "COMPLETED"
        assert answer["output"]["status"] == "succeeded"
        url = answer["output"]["outputs"][0]["url"]
        with urllib.request.urlopen(url, timeout=10) as response:
            assert Image.open(BytesIO(response.read())).size == (32, 24)
    finally:
        worker.kill()


@pytest.mark.slow
def test_local_api_of_worker_comfyuis_setting_answers_its_clients(environment, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    local = {**environment, "SERVE_API_LOCALLY": "true"}
    worker = Worker.start(local, tmp_path, "--rp_api_port", str(port))
    try:
        _wait_for_port(port)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/runsync",
            json.dumps({"input": worker_input()}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert answer["status"] == "COMPLETED"
        assert answer["output"]["images"][0]["type"] == "base64"
    finally:
        worker.kill()


def _wait_for_port(port: int) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        else:
            return


def test_job_of_the_platform_is_an_event_as_it_is():
    assert Event.model_validate({"id": "x", "input": job("invert"), "webhook": None}).id == "x"
