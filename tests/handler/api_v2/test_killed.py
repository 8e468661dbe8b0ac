"""A server that is killed with -9 in the middle of a job: its client is told the truth."""

from __future__ import annotations

import threading

import pytest
from api_v2_support.graphs import steps_graph
from api_v2_support.process import server_process
from comfy_sdk import Comfy, JobFailed
from platforms_support.http_server import wait_until

pytestmark = pytest.mark.slow


def test_client_is_told_what_became_of_its_jobs(comfyui_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with server_process(tmp_path, comfyui_dir, WORKER_CONCURRENCY="1") as first:
        monkeypatch.setenv("COMFY_BASE_URL", first.url)
        first.wait_for("running")
        with Comfy() as client:
            done = client.run(client.workflows.from_json(steps_graph(2)))
            running = client.submit(client.workflows.from_json(steps_graph(1000, 0.05)))
            waiting = client.submit(client.workflows.from_json(steps_graph(3)))
            events = []
            follower = threading.Thread(
                target=lambda: events.extend(_followed(running)), daemon=True
            )
            follower.start()
            wait_until(lambda: running.refresh().status == "running")
            wait_until(lambda: bool(events))
            first.popen.kill()
            first.popen.wait(10)
            port = int(first.url.rpartition(":")[2])
            with server_process(tmp_path, comfyui_dir, port) as second:
                wait_until(lambda: second.stage() is not None, timeout=60)
                # The same handles go on, and so does one that never knew the first server.
                with pytest.raises(JobFailed) as lost:
                    running.result()
                assert lost.value.error.code == "worker_lost"
                assert lost.value.error.node_id in {None, "2"}  # as far as it had been written
                assert waiting.wait(90).status == "succeeded", second.log.read_text()
                assert client.jobs.get(done.id).outputs[0].to_bytes() == done.outputs[0].to_bytes()
                assert [job.id for job in client.list_jobs()] == [waiting.id, running.id, done.id]
                follower.join(30)
                log = second.log.read_text()
    assert not follower.is_alive()
    assert events[-1].status == "failed"
    assert "cannot be kept" not in log, log


def _followed(job):
    """What the SDK's stream yields, which it takes up again when it breaks off."""
    while True:
        try:
            for event in job.events():
                yield event
                if getattr(event, "status", None) in {"failed", "succeeded", "canceled"}:
                    return
        except Exception:  # noqa: BLE001 - the server is away for a moment
            threading.Event().wait(0.5)
