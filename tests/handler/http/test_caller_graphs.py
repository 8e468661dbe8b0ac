"""Graphs in events that come over HTTP."""

from __future__ import annotations

import asyncio
import base64
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest
from PIL import Image
from platforms_support.http_server import PICTURE, boot_service, error_of

from handler.contract.errors import EventError
from handler.contract.job_id import JobId
from handler.contract.response import failure
from handler.http.service import Service
from handler.job.records import JobRecords
from handler.job.service import JobService

KEY = "comfyui-87d01e28d"
GRAPH = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "dot.png"}},
    "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "result"}},
}
EDITOR_FILE = {
    "nodes": [
        {
            "id": 1,
            "type": "LoadImage",
            "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1]}],
            "widgets_values": ["dot.png", "image"],
        },
        {
            "id": 2,
            "type": "SaveImage",
            "inputs": [{"name": "images", "type": "IMAGE", "link": 1}],
            "widgets_values": ["result"],
        },
    ],
    "links": [[1, 1, 0, 2, 0, "IMAGE"]],
}


def own(**more: object) -> dict[str, object]:
    return {"input": {"workflow": GRAPH, "images": {"dot.png": PICTURE}} | more}


def theirs(**more: object) -> dict[str, object]:
    images = [{"name": "dot.png", "image": PICTURE}]
    return {"id": "job-1", "input": {"workflow": GRAPH, "images": images} | more}


@pytest.fixture
def taking(make_server):
    return make_server(caller_graphs="on")


def test_server_without_a_token_takes_no_graphs_unless_told_to(server):
    error = error_of(server.post("/v1/invoke", own()), 403, "graph_refused")
    assert "CALLER_GRAPHS=on" in error["error"]["message"]
    refused = server.post("/v1/invoke", theirs())
    assert refused.status_code == 403
    assert set(refused.json()) == {"error", "details"}


def test_graph_becomes_a_picture(taking):
    (output,) = taking.post("/v1/invoke", own()).json()["outputs"]
    with Image.open(BytesIO(taking.get(output["url"]).content)) as image:
        assert image.size == (32, 24)


@pytest.mark.parametrize("path", ["/v1/invoke", "/invocations", "/event-invoke", "/invoke"])
def test_event_of_worker_comfyui_is_answered_in_its_shape_at_every_address(taking, path):
    (image,) = taking.post(path, theirs()).json()["images"]
    assert (image["filename"], image["type"]) == ("result_00001_.png", "base64")
    assert base64.b64decode(image["data"]).startswith(b"\x89PNG")


def test_result_of_a_submitted_job_has_its_shape_and_the_jobs_state_the_servers(taking):
    taking.submit(theirs())
    state = taking.ended("job-1")
    assert state["response"]["workflow"] == "(graph)"
    assert set(taking.get("/v1/jobs/job-1/result").json()) == {"images"}


def test_file_of_the_editors_waits_for_the_start(make_server, runtime):
    starting = make_server(boot=False, caller_graphs="on")
    body = {"input": {"images": {"dot.png": PICTURE}, "workflow": EDITOR_FILE}}
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(starting.post, "/v1/invoke", body)
        boot_service(starting.service, runtime)
        assert waiting.result(30).json()["status"] == "succeeded"


def test_graph_that_is_refused_is_refused_before_the_start(make_server):
    starting = make_server(boot=False, caller_graphs="on")
    graph = {**GRAPH, "4": {"class_type": "SaveLoRA", "inputs": {}}}
    error_of(starting.post("/v1/invoke", own(workflow=graph)), 403, "graph_refused")


def test_metrics_name_no_graph(taking):
    taking.post("/v1/invoke", own())
    assert 'workflow="(graph)"' in taking.get("/metrics").text


def test_key_is_in_no_record_of_a_job(local_settings, runtime, tmp_path):
    records = JobRecords(tmp_path / "records")
    settings = local_settings.with_trusted_callers()
    service = Service(settings, jobs=JobService(settings, records=records))
    boot_service(service, runtime)

    async def carry_out() -> None:
        event = theirs(comfy_org_api_key=KEY)
        job = await service.jobs.submit(event, JobId.of("job-1"), detached=True)
        await asyncio.wrap_future(job.future)

    asyncio.run(carry_out())
    files = [path.read_bytes() for path in (tmp_path / "records").rglob("*") if path.is_file()]
    assert any(b"job-1" in data for data in files)
    assert not any(KEY.encode() in data for data in files)
    service.close()


def test_shape_of_an_answer_outlives_the_process(tmp_path):
    told = failure(JobId.of("job-1"), EventError("No.")).shaped("worker-comfyui")
    first = JobRecords(tmp_path)
    first.ended(JobId.of("job-1"), told)
    first.close()
    (ended,) = JobRecords(tmp_path).inherit().ended
    assert ended.response == told
