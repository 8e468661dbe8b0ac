"""The unmodified ``comfy-sdk`` from PyPI, against the running service on the real ComfyUI."""

from __future__ import annotations

import copy
import inspect
import json
from io import BytesIO
from pathlib import Path

import comfy_sdk
import pytest
from api_v2_support.graphs import GRAPH, inverts, picture, previews_graph, steps_graph
from comfy_sdk.events import Log, OutputReady, Preview, Progress, StatusChange
from comfy_sdk.exceptions import (
    ComfyError,
    Forbidden,
    HashMismatch,
    IdempotencyKeyReuse,
    InvalidWorkflow,
    JobFailed,
    MissingAsset,
    NotFound,
    QueueFull,
    Unauthorized,
    WorkflowFormatUi,
)
from platforms_support.http_server import wait_until
from pydantic import SecretStr

UNKNOWN = "9f8a1c0d-2b3e-4f56-8a7b-1c2d3e4f5a6b"
FAILING = {
    **steps_graph(1),
    "2": {"class_type": "TestRaise", "inputs": {"image": ["1", 0], "kind": "ValueError"}},
}


def graph_of(client, asset):
    workflow = client.workflows.from_json(copy.deepcopy(GRAPH))
    workflow.set_input("1", "image", asset)
    return workflow


def test_picture_goes_in_and_comes_out(api_server, sdk, tmp_path):
    client = sdk(api_server)
    sent = picture()
    (tmp_path / "photo.png").write_bytes(sent)
    (tmp_path / "graph.json").write_text(json.dumps(GRAPH))
    workflow = client.workflows.from_file(tmp_path / "graph.json")
    workflow.set_input("1", "image", client.assets.from_file(tmp_path / "photo.png"))
    job = client.run(workflow, timeout=60)
    assert (job.status, job.error) == ("succeeded", None)
    (output,) = job.get_outputs("3")
    assert (output.node_id, output.name, output.type) == ("3", "result_00001_.png", "image")
    assert (output.content_type, output.job_id) == ("image/png", job.id)
    data = output.to_bytes()
    assert inverts(data, sent)
    assert output.size_bytes == len(data)
    assert output.to_bytes(range=(1, 3)) == data[1:4]
    assert output.to_file(tmp_path / "out.png").read_bytes() == data
    sink = BytesIO()
    assert output.to_stream(sink, range=(0, 4)) == 5
    assert sink.getvalue() == data[:5]
    assert output.get_download_url().url.endswith(f"/api/v2/assets/{output.id}/content")
    assert client.assets.get(output.id).hash == client.assets.from_bytes(data).hash


def test_assets_are_kept_once_and_deleted(api_server, sdk, tmp_path):
    client = sdk(api_server)
    data = picture()
    first = client.assets.from_bytes(data, filename="a.png")
    first.commit()
    assert first.created_new is True
    assert first.expires_at is not None
    assert first.job_id is None
    # The same bytes under another name, and under the same one.
    second = client.assets.from_stream(BytesIO(data), filename="b.png", content_type="image/png")
    again = client.assets.from_bytes(data, filename="b.png")
    assert (second.commit(), second.created_new) == (again.commit(), False)
    assert second.id != first.id
    reference = first.as_reference()
    assert reference["info"] == {"id": first.id, "hash": first.hash, "file_path": "a.png"}
    url = first.get_download_url().url
    fetched = client.assets.from_url(url)
    fetched.commit()
    assert fetched.created_new is False
    found = client.assets.get(first.id)
    assert (found.id, found.hash, found.file_path) == (first.id, first.hash, "a.png")
    client.assets.delete(first.id)
    second.delete()
    with pytest.raises(NotFound):
        client.assets.get(first.id)
    with pytest.raises(NotFound):
        client.assets.delete(first.id)
    # The last of them takes the bytes with it.
    assert api_server.client.head(f"/api/v2/assets/by-hash/{found.hash}").status_code == 200
    fetched.delete()
    assert api_server.client.head(f"/api/v2/assets/by-hash/{found.hash}").status_code == 404


def test_job_is_submitted_and_found_again(api_server, sdk):
    client = sdk(api_server)
    workflow = client.workflows.from_str(json.dumps(steps_graph(3)))
    job = client.submit(workflow, metadata={"client": "acme"})
    assert job.metadata == {"client": "acme"}
    same = client.jobs.get(job.id)
    assert same.wait(30).status == "succeeded"
    assert job.refresh().result().outputs[0].id == same.outputs[0].id
    found = same.get_workflow()
    assert (found.format, found.graph) == ("api", workflow.json)
    assert job.get_outputs("nowhere") == []


def test_progress_is_polled_and_streamed(api_server, sdk, caplog):
    caplog.set_level("INFO")
    client = sdk(api_server)
    job = client.submit(client.workflows.from_json(previews_graph(30)))
    events = list(job.events())
    kinds = {type(event) for event in events}
    assert {Progress, Preview, OutputReady, StatusChange, Log} <= kinds
    assert events[-1] == StatusChange("succeeded", None)
    running = [event for event in events if isinstance(event, Progress) and event.steps == 30]
    assert running
    assert all(event.current_node == "2" and event.nodes_total == 3 for event in running)
    assert [event.value for event in running] == sorted(event.value for event in running)
    (picture_event, *_) = [event for event in events if isinstance(event, Preview)]
    assert picture_event.to_pil().size == (64, 48)
    (made,) = [event for event in events if isinstance(event, OutputReady)]
    assert made.output.to_bytes() == job.refresh().outputs[0].to_bytes()
    # A stream of a job that has ended tells its end at once.
    assert list(client.jobs.get(job.id).events())[-1].status == "succeeded"


def test_running_job_is_cancelled(api_server, sdk):
    client = sdk(api_server)
    job = client.submit(client.workflows.from_json(steps_graph(1000, 0.05)))
    wait_until(lambda: job.refresh().status == "running")
    assert job.cancel().status in {"canceling", "canceled"}
    assert job.wait(20).status == "canceled"
    assert job.cancel().status == "canceled"
    with pytest.raises(JobFailed):
        job.result()
    assert client.run(client.workflows.from_json(steps_graph(1))).status == "succeeded"


def test_waiting_job_is_cancelled_at_once(make_api_server, sdk):
    server = make_api_server(concurrency=1)
    client = sdk(server)
    running = client.submit(client.workflows.from_json(steps_graph(1000, 0.05)))
    waiting = client.submit(client.workflows.from_json(steps_graph(2)))
    wait_until(lambda: running.refresh().status == "running")
    assert waiting.refresh().status == "queued"
    assert waiting.cancel().wait(5).status == "canceled"
    running.cancel().wait(20)


def test_failure_names_its_node(api_server, sdk):
    client = sdk(api_server)
    with pytest.raises(JobFailed) as caught:
        client.run(client.workflows.from_json(FAILING))
    error = caught.value.error
    assert (error.code, error.node_id) == ("node_execution_error", "2")
    assert error.class_type == "TestRaise"
    assert "not to this node's liking" in error.message


def test_jobs_are_listed_newest_first_by_label(api_server, sdk):
    client = sdk(api_server)
    jobs = [
        client.submit(client.workflows.from_json(steps_graph(n + 1, 0)), metadata={"n": str(n % 2)})
        for n in range(5)
    ]
    for job in jobs:
        job.wait(20)
    expected = [job.id for job in reversed(jobs)]
    assert [job.id for job in client.list_jobs(limit=2)] == expected
    odd = list(client.list_jobs(metadata={"n": "1"}, limit=1))
    assert [job.id for job in odd] == [jobs[3].id, jobs[1].id]
    assert {job.status for job in odd} == {"succeeded"}
    assert odd[0].create_time <= odd[0].update_time
    assert list(client.list_jobs(metadata={"n": "2"})) == []


def test_errors_are_of_the_sdks_own_classes(api_server, sdk):
    client = sdk(api_server)
    with pytest.raises(NotFound):
        client.jobs.get(UNKNOWN)
    with pytest.raises(WorkflowFormatUi):
        client.submit(client.workflows.from_json({"nodes": [], "links": [], "last_node_id": 0}))
    nothing = client.workflows.from_json({"1": {"class_type": "Nothing", "inputs": {}}})
    with pytest.raises(InvalidWorkflow) as unknown:
        client.submit(nothing)
    assert "1" in unknown.value.details["node_errors"]
    workflow = client.workflows.from_json(copy.deepcopy(GRAPH))
    with pytest.raises(MissingAsset):
        client.submit(workflow)
    workflow.set_input("1", "image", {"__type": "core/ASSET", "info": {"id": UNKNOWN}})
    with pytest.raises(MissingAsset):
        client.submit(workflow)
    asset = client.assets.from_bytes(picture(), filename="a.png")
    asset._hash = "blake3:" + "0" * 64  # what a file that changed meanwhile would have
    with pytest.raises(HashMismatch):
        asset.commit()
    with pytest.raises(ComfyError, match="17 pairs") as labels:
        client.submit(workflow, metadata={str(n): "x" for n in range(17)})
    assert labels.value.code == "metadata_invalid"


def test_key_is_good_for_one_submission(api_server, sdk):
    client = sdk(api_server)
    workflow = client.workflows.from_json(steps_graph(1))
    bad = client.workflows.from_json({"1": {"class_type": "Nothing", "inputs": {}}})
    with pytest.raises(InvalidWorkflow):
        client.submit(bad, idempotency_key="order-7")
    job = client.submit(workflow, idempotency_key="order-7")
    with pytest.raises(IdempotencyKeyReuse):
        client.submit(workflow, idempotency_key="order-7")
    assert [found.id for found in client.list_jobs()] == [job.id]


def test_full_queue_asks_for_patience(make_api_server, sdk, monkeypatch):
    monkeypatch.setattr("comfy_sdk.client._QUEUE_RETRY_BUDGET", 0.0)
    server = make_api_server(concurrency=1, queue_limit=0)
    client = sdk(server)
    running = client.submit(client.workflows.from_json(steps_graph(1000, 0.05)))
    with pytest.raises(QueueFull) as full:
        client.submit(client.workflows.from_json(steps_graph(2)))
    assert full.value.retry_after >= 1
    running.cancel().wait(20)


def test_token_is_the_sdks_key(make_api_server, sdk):
    server = make_api_server(api_token=SecretStr("secret-token"), caller_graphs=None)
    with pytest.raises(Unauthorized):
        sdk(server).jobs.get(UNKNOWN)
    client = sdk(server, api_key="secret-token")
    asset = client.assets.from_bytes(picture(), filename="photo.png")
    job = client.run(graph_of(client, asset))
    # Whoever has an output's own address needs no key.
    address = server.job(job.id)["outputs"][0]["url"]
    bare = server.client.get(address, headers={"Authorization": ""})
    assert bare.content == job.outputs[0].to_bytes()
    forged = address[:-1] + ("1" if address.endswith("0") else "0")
    assert server.client.get(forged, headers={"Authorization": ""}).status_code == 401


def test_server_without_graphs_says_that_it_takes_none(make_api_server, sdk):
    client = sdk(make_api_server(caller_graphs="off"))
    with pytest.raises(Forbidden):
        client.submit(client.workflows.from_json(steps_graph(1)))


def test_installed_workflow_runs_by_its_name(api_server, sdk):
    client = sdk(api_server)
    sent = picture()
    workflow = client.workflows.from_json(
        {
            "__type": "serverless-comfyui/WORKFLOW",
            "info": {
                "name": "invert",
                "images": {"image": client.assets.from_bytes(sent, filename="photo.png")},
            },
        }
    )
    job = client.run(workflow)
    assert inverts(job.outputs[0].to_bytes(), sent)
    assert job.get_workflow().graph["info"]["name"] == "invert"


def test_plain_name_is_that_of_the_last_upload(api_server, sdk):
    client = sdk(api_server)
    first, second = picture(), picture()
    client.assets.from_bytes(first, filename="photo.png").commit()
    client.assets.from_bytes(second, filename="photo.png").commit()
    job = client.run(client.workflows.from_json(GRAPH))
    assert inverts(job.outputs[0].to_bytes(), second)


def test_output_is_deleted_with_its_bytes(api_server, sdk, local_settings):
    client = sdk(api_server)
    job = client.run(client.workflows.from_json(steps_graph(2)))
    client.assets.delete(job.outputs[0].id)
    assert job.refresh().outputs == []
    assert not list(local_settings.results_dir.glob("[!.]*/*.png"))


def test_node_can_be_taken_out(api_server, sdk):
    client = sdk(api_server)
    workflow = client.workflows.from_json(steps_graph(3))
    workflow.remove_node("2")
    assert client.run(workflow).status == "succeeded"


def test_every_public_method_is_called_here():
    """But for those of the hosted catalogue of models, and of the client's own life."""
    own = Path(__file__).read_text()
    classes = (
        comfy_sdk.Comfy,
        comfy_sdk.AssetFactory,
        comfy_sdk.Asset,
        comfy_sdk.WorkflowFactory,
        comfy_sdk.Workflow,
        comfy_sdk.client.JobFactory,
        comfy_sdk.Job,
        comfy_sdk.Output,
    )
    for class_ in classes:
        for name, _ in inspect.getmembers(class_, inspect.isfunction):
            assert name.startswith("_") or name == "close" or f".{name}(" in own, name
