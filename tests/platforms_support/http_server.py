"""What tests of the HTTP server send, wait for and read."""

from __future__ import annotations

import base64
import itertools
import json
import time
from dataclasses import dataclass
from io import BytesIO

import httpx
from PIL import Image

from handler.http.server import served_storage
from handler.http.service import Service
from handler.inputs import InputFetcher
from handler.job.invoke import Function
from handler.job.kept import open_kept_results
from handler.job.results import Delivery


def picture() -> str:
    file = BytesIO()
    Image.new("RGB", (32, 24), (10, 200, 30)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


PICTURE = picture()


def event(workflow: str = "invert", **more: object) -> dict[str, object]:
    top = {"id": more.pop("id")} if "id" in more else {}
    return top | {"input": {"workflow": workflow, "image": PICTURE} | more}


_calls = itertools.count()


def slow(steps: int = 30, seconds: float = 0.02, **more: object) -> dict[str, object]:
    """An event that no other test has sent: ComfyUI keeps results, and is then not slow."""
    seconds += next(_calls) * 1e-6
    return event("steps", params={"steps": steps, "seconds": seconds}, **more)


ENDLESS = {"steps": 1000, "seconds": 0.05}


def wait_until(condition, timeout: float = 20.0) -> None:
    ends_at = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.01)


@dataclass
class RunningServer:
    url: str
    port: int
    service: Service
    client: httpx.Client

    def get(self, path: str, **more) -> httpx.Response:
        return self.client.get(path, **more)

    def post(self, path: str, body: object, **more) -> httpx.Response:
        return self.client.post(path, json=body, **more)

    def submit(self, body: object) -> dict[str, object]:
        response = self.post("/v1/jobs", body)
        assert response.status_code == 202, response.text
        return response.json()

    def running(self, job_id: str) -> None:
        """Wait until a job is on the device."""

        def on_device() -> bool:
            progress = self.get(f"/v1/jobs/{job_id}").json().get("progress")
            return progress is not None and progress["step"] > 0

        wait_until(on_device)

    def ended(self, job_id: str) -> dict[str, object]:
        wait_until(lambda: self.get(f"/v1/jobs/{job_id}").json().get("response") is not None)
        return self.get(f"/v1/jobs/{job_id}").json()

    def metric(self, name: str) -> float:
        """Return a sample by its name, with labels, as Prometheus reads it."""
        for line in self.get("/metrics").text.splitlines():
            if line.startswith(name + " "):
                return float(line.rpartition(" ")[2])
        return 0.0


def error_of(response: httpx.Response, status: int, code: str) -> dict[str, object]:
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"status", "job_id", "given_id", "error"}
    assert body["status"] == "failed"
    assert body["error"]["code"] == code, body
    assert body["error"]["message"]
    return body


def events_of(response: httpx.Response) -> list[tuple[str, dict[str, object]]]:
    """Read a stream of server-sent events to its end."""
    found, name = [], ""
    for line in response.iter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            found.append((name, json.loads(value)))
    return found


def boot_service(service: Service, runtime) -> None:
    settings = service.settings
    delivery = Delivery(served_storage(settings, service), open_kept_results(settings))
    service.booted(Function(settings, runtime, InputFetcher(settings), delivery))
