"""What the API does for jobs beyond what the SDKs ask of it."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from api_v2_support.graphs import GRAPH, picture, previews_graph, steps_graph
from platforms_support.http_server import error_of, wait_until

from handler.job.records import JobRecords


def frames_of(lines, *, most=None):
    """Events of a stream: name, id and data."""
    found, frame = [], {}
    for line in lines:
        if not line and frame:
            found.append((frame["event"], frame["id"], json.loads(frame["data"])))
            frame = {}
            if most is not None and len(found) == most:
                break
        elif line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            frame[name] = value
    return found


def code_of(response) -> str:
    return response.json()["error"]["code"]


def test_unfinished_job_is_held_for_a_moment(api_server):
    job = api_server.submit_graph(steps_graph(5, 0.02))
    started = time.monotonic()
    assert api_server.job(job["id"])["status"] == "succeeded"
    assert time.monotonic() - started < 0.5
    slow = api_server.submit_graph(steps_graph(1000, 0.05))
    started = time.monotonic()
    assert api_server.job(slow["id"])["status"] in {"queued", "running"}
    assert 0.3 < time.monotonic() - started < 2
    api_server.client.post(slow["urls"]["cancel"])
    assert api_server.ended_job(slow["id"])["status"] == "canceled"


@pytest.mark.slow
def test_job_tells_its_times_and_its_progress(api_server):
    job = api_server.submit_graph(steps_graph(20, 0.05))
    assert job["status"] in {"queued", "running"}
    assert (job["completed_at"], job["outputs"]) == (None, [])
    wait_until(lambda: (api_server.job(job["id"])["progress"] or {}).get("steps") == 20)
    progress = api_server.job(job["id"])["progress"]
    assert (progress["nodes_done"], progress["nodes_total"]) == (1, 3)
    assert (progress["current_node"], progress["current_node_class"]) == ("2", "TestSteps")
    assert progress["steps"] == 20
    ended = api_server.ended_job(job["id"])
    assert ended["created_at"] <= ended["started_at"] <= ended["completed_at"]
    assert ended["progress"]["value"] == 1
    assert ended["metrics"]["execution_ms"] >= 900
    assert ended["metrics"]["queue_ms"] >= 0


@pytest.mark.slow
def test_broken_stream_is_taken_up_without_what_was_sent(api_server, caplog):
    caplog.set_level("INFO")
    job = api_server.submit_graph(steps_graph(60, 0.05))
    events = job["urls"]["events"]
    with api_server.client.stream("GET", events) as response:
        first = frames_of(response.iter_lines(), most=4)
    assert first[0][0] == "status"
    assert {"progress"} <= {name for name, _, _ in first}
    with api_server.client.stream("GET", events) as response:
        whole = frames_of(response.iter_lines())
    assert [name for name, _, _ in whole].count("output") == 1
    assert whole[-1][2]["status"] == "succeeded"
    with api_server.client.stream(
        "GET", events, headers={"Last-Event-ID": whole[-1][1]}
    ) as response:
        rest = frames_of(response.iter_lines())
    assert {name for name, _, _ in rest} == {"progress", "status"}


@pytest.mark.slow
def test_many_streams_of_one_job(api_server):
    job = api_server.submit_graph(steps_graph(40, 0.05))

    def read(_: int):
        with api_server.client.stream("GET", job["urls"]["events"]) as response:
            return frames_of(response.iter_lines())[-1]

    with ThreadPoolExecutor(20) as threads:
        assert {last[2]["status"] for last in threads.map(read, range(20))} == {"succeeded"}


def test_silent_stream_says_that_it_is_there(make_api_server, monkeypatch):
    monkeypatch.setattr("handler.api_v2.events._COMMENT_SECONDS", 0.5)
    server = make_api_server(concurrency=1)
    server.submit_graph(steps_graph(1000, 0.05))
    job = server.submit_graph(steps_graph(2))
    with server.client.stream("GET", job["urls"]["events"]) as response:
        assert any(line.startswith(":") for line in response.iter_lines())


@pytest.mark.slow
def test_previews_are_throttled(api_server):
    job = api_server.submit_graph(previews_graph(40))
    with api_server.client.stream("GET", job["urls"]["events"]) as response:
        names = [name for name, _, _ in frames_of(response.iter_lines())]
    assert 1 <= names.count("preview") <= 6


def test_log_of_a_job(api_server, caplog):
    caplog.set_level("INFO")
    job = api_server.submit_graph(steps_graph(2))
    api_server.ended_job(job["id"])
    wait_until(lambda: api_server.api.history.live(job["id"]) is None)
    logs = api_server.get(f"/api/v2/jobs/{job['id']}/logs").json()
    assert "graph ran" in {line["message"] for line in logs["logs"]}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ([], 422, "invalid_request"),
        ({}, 422, "invalid_request"),
        ({"workflow": {}}, 422, "invalid_request"),
        ({"workflow": "invert"}, 422, "invalid_request"),
        ({"workflow": {"1": 7}}, 422, "invalid_workflow"),
        ({"workflow": steps_graph(), "webhook_url": "https://example.com"}, 422, "invalid_request"),
        ({"workflow": steps_graph(), "inputs": {}}, 422, "invalid_request"),
        ({"workflow": steps_graph(), "extra_data": {"more": 1}}, 422, "invalid_request"),
        ({"workflow": steps_graph(), "metadata": {"a": 1}}, 422, "metadata_invalid"),
        (
            {"workflow": {"__type": "serverless-comfyui/WORKFLOW", "info": {"name": "nowhere"}}},
            422,
            "invalid_workflow",
        ),
        (
            {"workflow": {"__type": "serverless-comfyui/WORKFLOW", "info": {"nme": "invert"}}},
            422,
            "invalid_request",
        ),
    ],
)
def test_submission_that_is_refused(api_server, body, status, code):
    response = api_server.post("/api/v2/jobs", body)
    assert (response.status_code, code_of(response)) == (status, code)
    assert api_server.get("/api/v2/jobs").json() == {"jobs": []}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "invalid_request"),
        ("cursor=nonsense", "invalid_cursor"),
        ("metadata[a]=1&metadata[a]=2", "invalid_metadata_filter"),
    ],
)
def test_list_that_is_refused(api_server, query, code):
    response = api_server.get(f"/api/v2/jobs?{query}")
    assert 400 <= response.status_code < 500
    assert code_of(response) == code


def test_addresses_that_do_not_exist(api_server):
    assert code_of(api_server.get("/api/v2/nothing")) == "not_found"
    assert code_of(api_server.get("/api/v2/jobs/nothing/events")) == "not_found"
    assert code_of(api_server.client.put("/api/v2/jobs")) == "method_not_allowed"


def test_first_version_stays_as_it_is(api_server):
    error_of(api_server.get("/v1/jobs/none"), 404, "unknown_job")
    assert api_server.get("/health").status_code == 200


def test_name_that_is_not_the_servers_is_refused_in_the_envelope(api_server):
    response = api_server.get("/api/v2/jobs", headers={"Host": "attacker.example.com"})
    assert (response.status_code, code_of(response)) == (421, "forbidden_host")


@pytest.mark.slow
def test_job_waits_for_the_start(make_api_server):
    server = make_api_server(boot=False)
    job = server.submit_graph(steps_graph(2))
    assert job["status"] == "queued"
    refused = server.post("/api/v2/jobs", {"workflow": GRAPH})
    assert code_of(refused) == "missing_asset"
    cancelled = server.submit_graph(steps_graph(3))
    answer = server.client.post(cancelled["urls"]["cancel"])
    assert answer.json()["status"] == "canceled"
    server.boot()
    assert server.ended_job(job["id"])["status"] == "succeeded"
    assert server.ended_job(cancelled["id"])["status"] == "canceled"


def test_stopping_server_sends_clients_to_another(api_server):
    api_server.service.stop()
    response = api_server.post("/api/v2/jobs", {"workflow": steps_graph()})
    assert (response.status_code, code_of(response)) == (429, "deployment_not_ready")


def test_history_outlives_the_process(make_api_server, local_settings):
    records = JobRecords(local_settings.results_dir / ".jobs")
    first = make_api_server(records=records)
    asset = first.upload(picture()).json()
    job = first.submit_graph(GRAPH, metadata={"a": "b"})
    ended = first.ended_job(job["id"])
    first.service.close()
    first.api.close()
    second = make_api_server()
    again = second.job(job["id"])
    same = ("status", "created_at", "started_at", "completed_at", "metadata", "progress")
    assert {name: again[name] for name in same} == {name: ended[name] for name in same}
    data = second.get(f"/api/v2/assets/{again['outputs'][0]['id']}/content").content
    assert len(data) == again["outputs"][0]["size_bytes"]
    assert second.get(f"/api/v2/assets/{asset['id']}").json()["hash"] == asset["hash"]
    assert [found["id"] for found in second.get("/api/v2/jobs").json()["jobs"]] == [job["id"]]


def test_old_jobs_go_with_their_outputs(make_api_server, local_settings):
    server = make_api_server(job_history_most=1)
    jobs = [server.submit_graph(steps_graph(n + 1, 0)) for n in range(2)]
    for job in jobs:
        server.ended_job(job["id"])
        wait_until(lambda job=job: server.api.history.live(job["id"]) is None)
    server.api.sweep()
    assert code_of(server.get(f"/api/v2/jobs/{jobs[0]['id']}")) == "not_found"
    assert server.job(jobs[1]["id"])["outputs"]
    assert len(list(local_settings.results_dir.glob("[!.]*/*.png"))) == 1


def test_key_of_a_paid_service_is_kept_nowhere(api_server, local_settings):
    key = "comfyui-1b2c3d"
    job = api_server.submit_graph(steps_graph(2), extra_data={"api_key_comfy_org": key})
    api_server.ended_job(job["id"])
    files = [path for path in local_settings.results_dir.rglob("*") if path.is_file()]
    assert files
    assert not any(key.encode() in path.read_bytes() for path in files)


def test_text_is_an_output_that_can_be_fetched(api_server):
    graph = {
        "1": {"class_type": "PreviewAny", "inputs": {"source": "a text"}},
    }
    job = api_server.ended_job(api_server.submit_graph(graph)["id"])
    (output,) = job["outputs"]
    assert (output["type"], output["size_bytes"]) == ("text", 6)
    assert api_server.get(output["url"]).text == "a text"
