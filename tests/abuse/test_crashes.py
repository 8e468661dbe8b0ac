"""Processes that die in the middle of a job: what became of it, and of those that waited."""

from __future__ import annotations

import contextlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image
from platforms_support.http_server import error_of, event, wait_until

pytestmark = pytest.mark.slow

BUCKET = {
    "BUCKET_NAME": "results",
    "BUCKET_ACCESS_KEY_ID": "key",
    "BUCKET_SECRET_ACCESS_KEY": "secret",
}


@pytest.fixture
def silent():
    """A server that takes connections and never says a word, until it is closed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def website(tmp_path):
    """A server that has one picture."""
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / "photo.png")

    class Picture(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = (tmp_path / "photo.png").read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    @contextlib.contextmanager
    def serving(port: int):
        with ThreadingHTTPServer(("127.0.0.1", port), Picture) as server:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            yield
            server.shutdown()

    return serving


def started(start_server, **settings: str):
    process = start_server(WORKER_CONCURRENCY="1", **settings)
    wait_until(lambda: process.stage() == "running", timeout=60)
    return process


def submit(process, body: dict[str, object]) -> None:
    assert process.client.post("/v1/jobs", json=body).status_code == 202


def phase_of(process, job_id: str) -> str | None:
    progress = process.client.get(f"/v1/jobs/{job_id}").json()["progress"]
    return progress and progress["phase"]


def succeeds(process, job_id: str) -> bool:
    def ended() -> bool:
        return process.client.get(f"/v1/jobs/{job_id}").json()["response"] is not None

    wait_until(ended, timeout=60)
    return process.client.get(f"/v1/jobs/{job_id}").json()["status"] == "succeeded"


@pytest.mark.parametrize(
    ("how", "status"), [("exit", 9), ("segfault", -11), ("abort", -6), ("kill", -9)]
)
@pytest.mark.fault(
    "A node ends the process: `os._exit`, a segmentation fault, an abort, a kill",
    "the job is told as lost, with the node; the jobs that waited are done",
)
def test_job_whose_node_ends_the_process_is_told_as_lost_and_those_that_waited_are_done(
    start_server, how, status
):
    first = started(start_server)
    submit(first, event("die", id="deadly", params={"how": how, "seconds": 1.0}))
    wait_until(lambda: phase_of(first, "deadly") == "run")
    for number in range(3):
        submit(first, event(id=f"waiting-{number}"))
    assert first.popen.wait(60) == status
    second = started(start_server)
    lost = error_of(second.client.get("/v1/jobs/deadly/result"), 503, "worker_lost")["error"]
    assert lost["retryable"] is True
    assert lost["details"]["node"] == "Die"
    assert all(succeeds(second, f"waiting-{number}") for number in range(3))
    # Sent again, it is a job like any other.
    submit(second, event(id="deadly"))
    assert succeeds(second, "deadly")


@pytest.mark.fault(
    "The process is killed while it fetches an input",
    "the next process does the job",
)
def test_job_killed_while_its_photo_is_fetched_is_done_by_the_next_process(
    start_server, silent, website
):
    port = silent.getsockname()[1]
    allowed = {"INPUT_ALLOWED_HOSTS": f"127.0.0.1:{port}"}
    first = started(start_server, **allowed)
    body = event(id="fetched")
    body["input"]["image"] = f"http://127.0.0.1:{port}/photo.png"
    submit(first, body)
    wait_until(lambda: phase_of(first, "fetched") == "fetch")
    submit(first, event(id="waiting"))
    first.popen.kill()
    first.popen.wait(10)
    silent.close()
    with website(port):
        second = started(start_server, **allowed)
        assert succeeds(second, "fetched")
        assert succeeds(second, "waiting")


@pytest.mark.fault(
    "The process is killed while it stores a result",
    "the next process does the job",
)
def test_job_killed_while_its_result_is_stored_is_done_by_the_next_process(start_server, silent):
    nowhere = f"http://127.0.0.1:{silent.getsockname()[1]}"
    first = started(start_server, BUCKET_ENDPOINT_URL=nowhere, **BUCKET)
    submit(first, event(id="stored"))
    wait_until(lambda: phase_of(first, "stored") == "store")
    submit(first, event(id="waiting"))
    first.popen.kill()
    first.popen.wait(10)
    storage = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    storage.start()
    host, port = storage.get_host_and_port()
    url = f"http://{host}:{port}"
    try:
        with httpx.Client(trust_env=False) as client:
            assert client.put(f"{url}/results").status_code == 200
        second = started(start_server, BUCKET_ENDPOINT_URL=url, **BUCKET)
        assert succeeds(second, "stored")
        assert succeeds(second, "waiting")
    finally:
        storage.stop()
