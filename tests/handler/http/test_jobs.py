from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
from PIL import Image
from places import WORKFLOWS
from platforms_support.http_server import ENDLESS, PICTURE, error_of, event, events_of, slow

from handler.contract.job_id import JobId
from handler.contract.progress import JobProgress
from handler.contract.response import Success
from handler.http.progress_stream import progress_stream
from handler.job.pool import Job
from handler.job.request import read_request
from handler.settings import load_settings

AWKWARD_IDS = ["a/b", "a/events", "100%", "a?b#c", "50%2F50", "photo 1.png", "größe-图", "a\\b;c"]


def test_submitted_job_can_be_followed_to_its_result(server):
    submitted = server.submit(slow(20, id="one"))
    links = submitted["links"]
    assert submitted["job_id"] == "one"
    assert links == {
        "self": "/v1/jobs/one",
        "events": "/v1/jobs/one/events",
        "result": "/v1/jobs/one/result",
        "cancel": "/v1/jobs/one",
    }
    server.running("one")
    running = server.get(links["self"]).json()
    assert (running["status"], running["response"]) == ("running", None)
    assert running["progress"]["phase"] == "run"
    assert running["progress"]["node"] == "Steps"
    assert 0 < running["progress"]["fraction"] < 1
    ended = server.ended("one")
    assert ended["status"] == "succeeded"
    assert Success.model_validate(ended["response"]).outputs[0].url.startswith(server.url)
    result = server.get(links["result"])
    assert result.status_code == 200
    assert result.json() == ended["response"]


def test_refused_job_is_told_under_its_id(server):
    refused = server.post("/v1/jobs", event(id="a/b", output={"quality": 0}))
    body = error_of(refused, 422, "invalid_event")
    assert (body["job_id"], body["given_id"]) == (JobId.of("a/b"), "a/b")


def test_result_can_be_waited_for(server):
    server.submit(slow(20, id="one"))
    early = server.get("/v1/jobs/one/result")
    assert early.status_code == 202
    assert early.json()["response"] is None
    assert early.headers["retry-after"]
    late = server.get("/v1/jobs/one/result", params={"wait": 20})
    assert late.json()["status"] == "succeeded"
    error_of(server.get("/v1/jobs/one/result", params={"wait": "long"}), 422, "invalid_event")


def test_result_of_a_failed_job_has_the_status_of_its_error(server):
    server.submit(event("fail", id="bad"))
    assert server.ended("bad")["status"] == "failed"
    error_of(server.get("/v1/jobs/bad/result"), 500, "node_failed")


def test_cancelled_job_frees_the_device(server):
    server.submit(event("steps", id="endless", params=ENDLESS))
    server.running("endless")
    assert server.client.delete("/v1/jobs/endless").status_code == 202
    assert server.ended("endless")["response"]["error"]["code"] == "cancelled"
    assert server.post("/v1/invoke", event()).status_code == 200
    assert server.client.delete("/v1/jobs/endless").json()["status"] == "failed"


def test_submitted_job_goes_on_without_its_client(server):
    server.submit(slow(20, id="one"))
    with pytest.raises(TimeoutError):
        _read_events_for(server, "one", seconds=0.1)
    assert server.ended("one")["status"] == "succeeded"


def _read_events_for(server, job_id: str, seconds: float) -> None:
    ends_at = time.monotonic() + seconds
    with server.client.stream("GET", f"/v1/jobs/{job_id}/events") as response:
        for _ in response.iter_lines():
            if time.monotonic() > ends_at:
                raise TimeoutError


def test_same_event_sent_again_joins_the_job_under_way(server):
    body = slow(40, id="same")
    server.submit(body)
    assert server.post("/v1/invoke", body).json()["job_id"] == "same"
    assert server.metric('comfyui_jobs_total{code="succeeded",workflow="steps"}') == 1


def test_job_is_found_by_the_id_that_was_sent_and_by_the_one_that_stands_for_it(server):
    for given in AWKWARD_IDS:
        submitted = server.submit(event(id=given))
        links = submitted["links"]
        job_id = JobId.of(given)
        assert (submitted["job_id"], submitted["given_id"]) == (job_id, given)
        assert links["self"] == f"/v1/jobs/{job_id}"
        for path in (links["self"], f"/v1/jobs/{quote(given, safe='')}"):
            with server.client.stream("GET", f"{path}/events") as response:
                assert events_of(response)[-1][1]["job_id"] == job_id
            assert server.get(path).json()["given_id"] == given
        result = server.get(links["result"]).json()
        assert (result["job_id"], result["given_id"]) == (job_id, given)
        assert server.get(result["outputs"][0]["url"]).status_code == 200
        assert server.client.delete(links["cancel"]).status_code == 202


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ([], 422, "invalid_event"),
        (event("nowhere"), 404, "unknown_workflow"),
        (event("steps", params={"steps": 0}), 422, "invalid_parameter"),
    ],
)
def test_event_that_cannot_be_carried_out_is_not_taken(make_server, body, status, code):
    """Not even while ComfyUI starts."""
    error_of(make_server(boot=False).post("/v1/jobs", body), status, code)


def test_unknown_job(server):
    for method, path in [
        ("GET", "/v1/jobs/none"),
        ("GET", "/v1/jobs/none/result"),
        ("GET", "/v1/jobs/none/events"),
        ("DELETE", "/v1/jobs/none"),
        ("GET", "/v1/jobs/%ff"),
    ]:
        error_of(server.client.request(method, path), 404, "unknown_job")


class TestMemory:
    def test_oldest_jobs_are_forgotten_beyond_the_limit(self, make_server):
        server = make_server(jobs_kept=2)
        for number in range(3):
            server.post("/v1/invoke", event(id=f"job-{number}"))
        error_of(server.get("/v1/jobs/job-0"), 404, "unknown_job")
        assert server.get("/v1/jobs/job-1").status_code == 200
        assert server.get("/v1/jobs/job-2").status_code == 200

    def test_jobs_are_forgotten_after_a_while(self, make_server):
        server = make_server(jobs_kept_seconds=0.3)
        server.post("/v1/invoke", event(id="old"))
        assert server.get("/v1/jobs/old").status_code == 200
        time.sleep(0.31)
        error_of(server.get("/v1/jobs/old"), 404, "unknown_job")

    def test_large_responses_count_by_their_bytes(self, make_server):
        server = make_server(jobs_kept_max_bytes=150)
        inline = {"delivery": "base64"}
        for number in range(3):
            body = event(id=f"job-{number}", output=inline)
            (output,) = server.post("/v1/invoke", body).json()["outputs"]
        assert 75 < len(output["base64"]) <= 150
        error_of(server.get("/v1/jobs/job-1"), 404, "unknown_job")
        assert server.get("/v1/jobs/job-2").json()["response"]["outputs"] == [output]

    def test_photo_of_a_job_is_not_kept_with_it(self, server):
        server.post("/v1/invoke", event(id="one"))
        kept = server.service.jobs.find("one")
        assert PICTURE not in repr(kept)
        assert not isinstance(kept, Job)

    def test_id_used_again_has_the_newest_response(self, server):
        server.post("/v1/invoke", event(id="one"))
        server.post("/v1/invoke", event("fail", id="one"))
        assert server.get("/v1/jobs/one").json()["status"] == "failed"


class TestEvents:
    @pytest.mark.slow
    def test_progress_is_streamed_and_the_response_last(self, server):
        server.submit(slow(30, 0.05, id="one"))
        with server.client.stream("GET", "/v1/jobs/one/events") as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            assert response.headers["cache-control"] == "no-cache"
            events = events_of(response)
        names = [name for name, _ in events]
        assert set(names[:-1]) == {"progress"}
        assert names[-1] == "done"
        fractions = [data["fraction"] for _, data in events[:-1]]
        assert fractions == sorted(fractions)
        assert 4 <= len(fractions) <= 20
        assert {"phase", "fraction", "node", "step", "steps"} == set(events[0][1])
        assert events[-1][1] == server.get("/v1/jobs/one").json()["response"]

    def test_job_that_has_ended_gives_its_response_at_once(self, server):
        server.post("/v1/invoke", event("fail", id="bad"))
        with server.client.stream("GET", "/v1/jobs/bad/events") as response:
            ((name, data),) = events_of(response)
        assert (name, data["error"]["code"]) == ("done", "node_failed")

    @pytest.mark.slow
    def test_several_clients_follow_one_job(self, server):
        server.submit(slow(20, 0.05, id="one"))

        def follow(_: int):
            with server.client.stream("GET", "/v1/jobs/one/events") as response:
                return events_of(response)[-1]

        with ThreadPoolExecutor(5) as threads:
            last = list(threads.map(follow, range(5)))
        assert [name for name, _ in last] == ["done"] * 5
        assert all(data == last[0][1] for _, data in last)

    @pytest.mark.slow
    def test_silence_is_broken_by_comments(self, server, monkeypatch):
        monkeypatch.setattr("fastapi.routing._PING_INTERVAL", 0.1)
        server.submit(event("steps", id="still", params={"steps": 1, "seconds": 1.0}))
        with server.client.stream("GET", "/v1/jobs/still/events") as response:
            lines = list(response.iter_lines())
        assert any(line.startswith(":") for line in lines)

    def test_preview_is_a_small_jpeg(self):
        async def first_event() -> str:
            job = Job(
                read_request(event(), JobId.of("one"), load_settings(workflows_dir=WORKFLOWS))
            )
            preview = Image.new("RGB", (2000, 1000), (200, 30, 30))
            job._on_progress(
                JobProgress(phase="run", fraction=0.5, node="KSampler", preview=preview)
            )
            messages = progress_stream(job, "http://test")
            message = await anext(messages)
            await messages.aclose()
            return message.raw_data

        data = asyncio.run(first_event())
        assert '"preview": "data:image/jpeg;base64,/9j/' in data
        assert len(data) < 30_000
