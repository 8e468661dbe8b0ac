"""Two servers on one bucket: each answers for the other's jobs."""

from __future__ import annotations

import copy
import json
import time

import pytest
from api_v2_support.graphs import GRAPH, inverts, picture, steps_graph
from comfy_sdk import JobFailed
from fake_runtime import FakeRuntime
from platforms_support.http_server import wait_until

from handler.api_v2.job_shelf import JobShelf
from handler.contract.errors import StorageUnavailableError

pytestmark = pytest.mark.slow


@pytest.fixture
def pair(make_api_server, bucket_settings):
    return make_api_server(settings=bucket_settings), make_api_server(settings=bucket_settings)


def test_job_is_followed_at_the_other_server(pair, sdk):
    first, second = pair
    here, there = sdk(first), sdk(second)
    sent = picture()
    workflow = here.workflows.from_json(copy.deepcopy(GRAPH))
    # What was uploaded to one can be submitted at the other.
    asset = there.assets.from_bytes(sent, filename="photo.png")
    workflow.set_input("1", "image", asset)
    job = here.submit(workflow, metadata={"n": "1"})
    found = there.jobs.get(job.id)
    assert found.result().metadata == {"n": "1"}
    output = found.outputs[0]
    assert inverts(output.to_bytes(), sent)
    assert output.to_bytes(range=(1, 3)) == b"PNG"
    address = output.get_download_url()
    assert "Signature=" in address.url
    assert there.jobs.get(job.id).get_workflow().graph == here.jobs.get(job.id).get_workflow().graph
    assert [listed.id for listed in there.list_jobs(metadata={"n": "1"})] == [job.id]
    content = second.get(f"/api/v2/assets/{output.id}/content", follow_redirects=False)
    assert content.status_code == 302


def test_progress_and_events_are_seen_at_the_other_server(pair):
    first, second = pair
    job = first.submit_graph(steps_graph(100, 0.06))
    wait_until(lambda: second.job(job["id"])["progress"] is not None, timeout=15)
    seen = second.job(job["id"])
    assert seen["status"] == "running"
    assert seen["started_at"] == first.job(job["id"])["started_at"]
    with second.client.stream("GET", job["urls"]["events"]) as response:
        lines = list(response.iter_lines())
    names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert names[0] == "status"
    assert names.count("output") == 1
    last = json.loads([line for line in lines if line.startswith("data: ")][-1][6:])
    assert last["status"] == "succeeded"


def test_running_job_is_cancelled_at_the_other_server(pair, sdk):
    first, second = pair
    job = first.submit_graph(steps_graph(1000, 0.05))
    there = sdk(second).jobs.get(job["id"])
    wait_until(lambda: there.refresh().status == "running", timeout=15)
    assert there.cancel().status == "canceling"
    assert there.wait(30).status == "canceled"
    assert first.ended_job(job["id"])["status"] == "canceled"


def test_job_of_a_worker_that_is_gone_is_told_as_lost(make_api_server, bucket_settings, sdk):
    stuck = FakeRuntime()
    stuck.gate.clear()
    gone = make_api_server(settings=bucket_settings, run_on=stuck)
    other = make_api_server(settings=bucket_settings, worker_lost_seconds=5.0)
    job = gone.submit_graph(steps_graph(2))
    # As after kill -9: nothing more is written.
    gone.api.history._closing.set()
    gone.api.history._thread.join()
    there = sdk(other).jobs.get(job["id"])
    started = time.monotonic()
    with pytest.raises(JobFailed):
        there.result()
    assert time.monotonic() - started > 1
    assert there.error.code == "worker_lost"
    # What it makes of the job after all changes nothing any more.
    stuck.gate.set()
    wait_until(lambda: gone.api.history.live(job["id"]) is None, timeout=20)
    assert gone.job(job["id"])["status"] == "failed"
    assert other.job(job["id"])["error"]["code"] == "worker_lost"


def test_bucket_is_written_to_twice_for_a_short_job(make_api_server, bucket_settings, monkeypatch):
    server = make_api_server(settings=bucket_settings)
    server.ended_job(server.submit_graph(steps_graph(3, 0))["id"])
    written = []
    for name in ("submit", "run", "end"):
        method = getattr(JobShelf, name)

        def noted(self, *args, method=method, name=name):
            written.append(name)
            return method(self, *args)

        monkeypatch.setattr(JobShelf, name, noted)
    job = server.submit_graph(steps_graph(4, 0))
    server.ended_job(job["id"])
    wait_until(lambda: server.api.history.live(job["id"]) is None)
    assert sorted(written) == ["end", "submit"]


def test_end_that_the_bucket_did_not_take_is_written_later(make_api_server, bucket_settings):
    server = make_api_server(settings=bucket_settings)
    other = make_api_server(settings=bucket_settings)
    refused = []
    end = server.api.jobs_shelf.end

    def refuse_once(job_id, ended):
        if not refused:
            refused.append(job_id)
            raise StorageUnavailableError("The storage is away.")
        return end(job_id, ended)

    server.api.jobs_shelf.end = refuse_once
    job = server.submit_graph(steps_graph(5, 0))
    assert server.ended_job(job["id"])["status"] == "succeeded"
    wait_until(lambda: other.job(job["id"])["status"] == "succeeded", timeout=20)
    assert refused == [job["id"]]
