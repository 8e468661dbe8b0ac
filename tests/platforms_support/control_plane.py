"""A control plane as RunPod's SDK sees it: jobs to take, jobs to stop, results, pings."""

from __future__ import annotations

import json
import queue
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

_POLL = 0.3


class ControlPlane:
    """Serves on loopback. ``posts`` holds what the worker posted, job id first."""

    def __init__(self) -> None:
        self.jobs: queue.Queue[dict[str, Any]] = queue.Queue()
        self.stops: queue.Queue[str] = queue.Queue()
        self.posts: list[tuple[str, dict[str, Any]]] = []
        self.pings = 0
        self.taken_at: list[float] = []
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler_class())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def environment(self) -> dict[str, str]:
        base = f"http://127.0.0.1:{self._server.server_port}"
        return {
            "RUNPOD_WEBHOOK_GET_JOB": f"{base}/v2/endpoint/job-take/$ID?gpu=none",
            "RUNPOD_WEBHOOK_POST_OUTPUT": f"{base}/v2/endpoint/job-done/$RUNPOD_POD_ID/$ID?gpu=x",
            "RUNPOD_WEBHOOK_POST_STREAM": f"{base}/v2/endpoint/job-stream/$RUNPOD_POD_ID/$ID?gpu=x",
            "RUNPOD_WEBHOOK_PING": f"{base}/v2/endpoint/ping/$RUNPOD_POD_ID",
            "RUNPOD_AI_API_KEY": "test-key",
            "RUNPOD_POD_ID": "pod-1",
            "RUNPOD_PING_INTERVAL": "1000",
            # These look for RunPod's own network and disks.
            "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
        }

    def submit(self, job_id: str, job_input: object) -> None:
        self.jobs.put({"id": job_id, "input": job_input})

    def wait_for(self, wanted, timeout: float = 60.0) -> dict[str, Any]:
        """Return the first post for which ``wanted(job_id, body)`` is true."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                for job_id, body in self.posts:
                    if wanted(job_id, body):
                        return body
                left = deadline - time.monotonic()
                assert left > 0, f"not posted within {timeout} s; posted: {self.posts}"
                self._changed.wait(left)

    def result(self, job_id: str, timeout: float = 60.0) -> dict[str, Any]:
        """Return what was posted as the result of a job."""
        return self.wait_for(
            lambda posted_id, body: posted_id == job_id and body.get("status") != "IN_PROGRESS",
            timeout,
        )

    def wait_for_takes(self, count: int, timeout: float = 60.0) -> None:
        """Return once the worker has taken jobs that many times."""
        deadline = time.monotonic() + timeout
        while len(self.taken_at) < count:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _take(self, most: int) -> list[dict[str, Any]]:
        taken = []
        try:
            taken.append(self.jobs.get(timeout=_POLL))
            while len(taken) < most:
                taken.append(self.jobs.get_nowait())
        except queue.Empty:
            pass
        if taken:
            self.taken_at.append(time.monotonic())
        return taken

    def _handler_class(plane) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                if "/job-take-batch/" in url.path:
                    most = int(parse_qs(url.query)["batch_size"][0])
                    self._answer(plane._take(most))
                elif "/job-take/" in url.path:
                    self._answer(next(iter(plane._take(1)), None))
                elif "/job-stop/" in url.path:
                    try:
                        self._answer({"jobsToStop": [plane.stops.get(timeout=_POLL)]})
                    except queue.Empty:
                        self._answer(None)
                else:
                    plane.pings += 1
                    self._answer({})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                job_id = urlsplit(self.path).path.rpartition("/")[2]
                with plane._changed:
                    plane.posts.append((job_id, body))
                    plane._changed.notify_all()
                self._answer({})

            def _answer(self, body: object) -> None:
                data = json.dumps(body).encode() if body else b""
                self.send_response(200 if data or body == {} else 204)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: object) -> None:
                pass

        return Handler
