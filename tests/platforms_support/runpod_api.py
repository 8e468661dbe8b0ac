"""RunPod's API for callers, as docs.runpod.io/serverless/endpoints/send-requests describes it.

In front of a handler of ours, which the SDK's own ``run_job`` calls. The local server of the SDK
has no /cancel, and its /status is a POST.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from runpod.serverless.modules.rp_job import run_job

ENDPOINT_ID = "endpoint-1"
API_KEY = "the-key"


@dataclass
class _Job:
    job_id: str
    status: str = "IN_QUEUE"
    result: dict[str, Any] = field(default_factory=dict)
    progress: dict[str, Any] | None = None
    task: asyncio.Task | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = {"id": self.job_id, "status": self.status}
        if self.progress and self.status == "IN_PROGRESS":
            state["output"] = self.progress
        return {**state, **self.result}


class RunPodApi:
    """Serves on loopback. ``make_handler`` gets the function that a handler reports progress to."""

    def __init__(self, make_handler) -> None:
        self.jobs: dict[str, _Job] = {}
        self._handler = make_handler(self._on_progress)
        self._loop = asyncio.new_event_loop()
        self._loop_thread = threading.Thread(target=self._loop.run_forever)
        self._loop_thread.start()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._requests())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v2"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._loop_thread.join()
        self._loop.close()

    def look(self, route: list[str]) -> dict[str, Any]:
        match route:
            case ["status", job_id]:
                return self.jobs[job_id].state()
            case ["health"]:
                return {"jobs": {}, "workers": {"idle": 1}}
        raise ValueError(route)

    def act(self, route: list[str], body: dict[str, Any]) -> dict[str, Any]:
        match route:
            case ["run"]:
                return {"id": self.submit(body).job_id, "status": "IN_QUEUE"}
            case ["runsync"]:
                job = self.submit(body)
                job.ended.wait(60)
                return job.state()
            case ["cancel", job_id]:
                self.cancel(self.jobs[job_id])
                return self.jobs[job_id].state()
        raise ValueError(route)

    def submit(self, body: dict[str, Any]) -> _Job:
        job = _Job(uuid.uuid4().hex)
        self.jobs[job.job_id] = job
        asyncio.run_coroutine_threadsafe(self._run(job, body["input"]), self._loop)
        return job

    def cancel(self, job: _Job) -> None:
        if not job.ended.is_set():
            job.status = "CANCELLED"
            if job.task is not None:
                self._loop.call_soon_threadsafe(job.task.cancel)

    async def _run(self, job: _Job, job_input: object) -> None:
        started = time.monotonic()
        job.status = "IN_PROGRESS"
        job.task = asyncio.ensure_future(
            run_job(self._handler, {"id": job.job_id, "input": job_input})
        )
        try:
            result = await job.task
        except asyncio.CancelledError:
            result = {}
        else:
            job.status = "FAILED" if "error" in result else "COMPLETED"
        job.result = {**result, "executionTime": round((time.monotonic() - started) * 1000)}
        job.ended.set()

    async def _on_progress(self, taken: dict[str, Any], progress: dict[str, Any]) -> None:
        self.jobs[taken["id"]].progress = progress

    def _requests(api) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Requests(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._carry_out(api.look)

            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"] or 0))
                self._carry_out(api.act, json.loads(data or b"null"))

            def _carry_out(self, call, *body: object) -> None:
                if self.headers["Authorization"] == f"Bearer {API_KEY}":
                    self._answer(call(self._route(), *body))
                else:
                    self._answer({}, 401)

            def _route(self) -> list[str]:
                version, endpoint, *route = urlsplit(self.path).path.strip("/").split("/")
                assert (version, endpoint) == ("v2", ENDPOINT_ID), self.path
                return route

            def _answer(self, body: object, status: int = 200) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: object) -> None:
                pass

        return Requests
