"""A storage that is down, lies or is full: what is told, what is kept, what comes after."""

from __future__ import annotations

import base64
import io
import resource
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image
from platforms_support.http_server import error_of, event, wait_until
from pydantic import SecretStr

LARGEST_FILE = 50_000


class WebPage(BaseHTTPRequestHandler):
    """Says yes to everything, as the page of a proxy or of a login does."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        page = b"<html><title>Please log in</title></html>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def bucket_of(port):
    """Start a storage with an empty bucket at the port."""
    servers = []

    def start() -> None:
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
        server.start()
        servers.append(server)
        with httpx.Client(trust_env=False) as client:
            assert client.put(f"http://127.0.0.1:{port}/results").status_code == 200

    yield start
    for server in servers:
        server.stop()


@pytest.mark.parametrize("fault", ["down", "web page"])
@pytest.mark.fault(
    "The bucket is down, or a web page answers for it",
    "the result is kept, and delivered without a run once it is mended",
)
def test_result_that_a_broken_bucket_does_not_take_is_delivered_once_it_is_mended(
    attacked, port, bucket_of, fault
):
    page = ThreadingHTTPServer(("127.0.0.1", port), WebPage) if fault == "web page" else None
    if page is not None:
        threading.Thread(target=page.serve_forever, args=(0.01,), daemon=True).start()
    server = attacked(
        boot=True,
        bucket_endpoint_url=f"http://127.0.0.1:{port}",
        bucket_name="results",
        bucket_access_key_id="key",
        bucket_secret_access_key=SecretStr("secret"),
        bucket_attempts=1,
    )
    body = event(id="kept", params={"seed": 1})
    answer = server.post("/v1/invoke", body)
    error = error_of(answer, 503, "storage_unavailable")["error"]
    assert "The result is kept" in error["message"]
    if page is not None:
        page.shutdown()
        page.server_close()
    bucket_of()
    again = server.post("/v1/invoke", body)
    assert again.status_code == 200, again.text
    assert again.json()["timings"]["run"] == 0.0
    with httpx.Client(trust_env=False) as client:
        assert client.get(again.json()["outputs"][0]["url"]).content[:4] == b"\x89PNG"


def noise() -> str:
    pixels = np.random.default_rng(1).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


@pytest.mark.slow
@pytest.mark.parametrize("bucket", ["none", "down"])
@pytest.mark.fault(
    "The disk is full, with or without a bucket that is down",
    "the first failure is told; the worker goes on",
)
def test_disk_that_is_full_fails_the_job_by_its_first_failure_and_the_worker_goes_on(
    start_server, port, bucket
):
    """A file may grow to 50 kB, as on a disk with that much room: the result has more."""
    bucket_settings = {
        "BUCKET_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "BUCKET_NAME": "results",
        "BUCKET_ACCESS_KEY_ID": "key",
        "BUCKET_SECRET_ACCESS_KEY": "secret",
        "BUCKET_ATTEMPTS": "1",
    }
    process = start_server(**(bucket_settings if bucket == "down" else {}))
    wait_until(lambda: process.stage() == "running", timeout=60)
    usual = resource.prlimit(process.popen.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.popen.pid, resource.RLIMIT_FSIZE, (LARGEST_FILE, usual[1]))
    large = event(id="large")
    large["input"]["image"] = noise()
    answer = process.client.post("/v1/invoke", json=large)
    code = "storage_refused" if bucket == "none" else "storage_unavailable"
    error = error_of(answer, answer.status_code, code)["error"]
    assert error["retryable"] is (bucket == "down")
    assert "could not be kept" in error["message"]
    assert "not_kept" in error["details"]
    if bucket == "down":
        return
    assert process.client.post("/v1/invoke", json=event(id="small")).status_code == 200
    resource.prlimit(process.popen.pid, resource.RLIMIT_FSIZE, usual)
    assert process.client.post("/v1/invoke", json=large).status_code == 200
