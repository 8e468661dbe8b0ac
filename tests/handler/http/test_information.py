from __future__ import annotations

import json

import jsonschema
import pytest
from fake_runtime import FakeRuntime
from openapi_spec_validator import validate
from platforms_support.http_server import PICTURE, boot_service, error_of, event

from comfyui_runtime.run.runtime import LoadedModels
from handler.contract.event import parse_event
from handler.settings import load_settings

WITH_MODEL = """
title = "Needs a model"
description = "For tests."
version = "1"

[images.image]
node = "1"
description = "A photo."

[[models]]
folder = "checkpoints"
file = "painter.safetensors"

[[models]]
folder = "loras"
file = "style.safetensors"
optional = true
"""


@pytest.fixture
def workflows_dir(tmp_path, local_settings):
    """A workflow that lacks its models, one that lacks a node class, and one that is broken."""
    folder = tmp_path / "workflows"
    graph = json.loads((local_settings.workflows_dir / "invert" / "graph.json").read_text())
    for name in ("painted", "packed", "broken"):
        (folder / name).mkdir(parents=True)
        (folder / name / "graph.json").write_text(json.dumps(graph))
    (folder / "painted" / "manifest.toml").write_text(WITH_MODEL)
    (folder / "broken" / "manifest.toml").write_text("title = 5")
    graph["9"] = {"class_type": "OfSomePack", "inputs": {}}
    (folder / "packed" / "graph.json").write_text(json.dumps(graph))
    manifest = WITH_MODEL.partition("[[models]]")[0] + '[node_packs]\nOfSomePack = "some-pack"\n'
    (folder / "packed" / "manifest.toml").write_text(manifest)
    return folder


class TestReadiness:
    def test_alive_but_not_ready_while_the_start_goes_on(self, make_server):
        server = make_server(boot=False)
        health, ready = server.get("/health"), server.get("/ready")
        assert (health.status_code, health.json()) == (200, {"stage": "booting"})
        assert (ready.status_code, ready.json()["ready"]) == (503, False)

    def test_ready_after_the_start(self, server):
        assert server.get("/ready").json() == {"ready": True, "stage": "running", "problems": []}
        assert server.get("/health").json() == {"stage": "running"}

    def test_not_ready_as_soon_as_a_stop_is_asked_for(self, server):
        server.service.stop()
        assert server.get("/ready").status_code == 503
        assert server.get("/health").json() == {"stage": "stopping"}
        error_of(server.post("/v1/invoke", event()), 503, "shutting_down")

    def test_not_ready_without_the_models_of_every_workflow(self, make_server, workflows_dir):
        ready = make_server(workflows_dir=workflows_dir).get("/ready")
        assert ready.status_code == 503
        assert "painter.safetensors" in json.dumps(ready.json()["problems"])

    def test_not_ready_while_models_are_fetched(self, make_server, workflows_dir, tmp_path):
        part = tmp_path / "fetched" / "checkpoints" / "painter.safetensors.part"
        part.parent.mkdir(parents=True)
        part.write_bytes(b"x" * 1234)
        server = make_server(
            workflows_dir=workflows_dir,
            fetch_models="start",
            models_fetch_dir=tmp_path / "fetched",
        )
        answer = server.get("/ready")
        assert answer.status_code == 503
        assert "is being fetched: 1,234 bytes have arrived" in answer.text

    def test_not_ready_without_a_workflow_that_is_asked_for(self, make_server, workflows_dir):
        settings = load_settings(ready_workflows="painted, absent")
        server = make_server(workflows_dir=workflows_dir, ready_workflows=settings.ready_workflows)
        problems = server.get("/ready").json()["problems"]
        assert problems[0] == "The workflow absent is not installed."
        assert "painter.safetensors" in problems[1]
        assert len(problems) == 2


class TestCatalogue:
    def test_workflow_tells_its_parameters_and_images(self, server):
        entries = {
            entry["name"]: entry for entry in server.get("/v1/workflows").json()["workflows"]
        }
        steps = entries["steps"]
        assert steps["runnable"] is True
        assert steps["images"] == {"image": {"description": "A photo.", "required": True}}
        assert steps["parameters"]["steps"]["type"] == "integer"
        assert steps["parameters"]["steps"]["schema"] == {
            "type": "integer",
            "minimum": 1,
            "maximum": 1000,
            "default": 4,
            "description": "How many steps.",
        }
        sent = event("steps", params={"steps": 5})
        jsonschema.validate(sent, steps["event_schema"])
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(event("steps", params={"steps": 0}), steps["event_schema"])

    def test_workflow_that_cannot_run_tells_why(self, make_server, workflows_dir):
        server = make_server(workflows_dir=workflows_dir)
        entries = {
            entry["name"]: entry for entry in server.get("/v1/workflows").json()["workflows"]
        }
        assert {name for name, entry in entries.items() if entry["runnable"]} == set()
        (missing,) = entries["painted"]["problems"]
        assert "checkpoints/painter.safetensors" in missing
        assert [model["problem"] is None for model in entries["painted"]["models"]] == [False] * 2
        assert "OfSomePack of the node pack some-pack" in entries["packed"]["problems"][0]
        assert "broken/manifest.toml" in entries["broken"]["problems"][0]

    def test_models_tell_who_needs_them(self, make_server, workflows_dir):
        body = make_server(workflows_dir=workflows_dir).get("/v1/models").json()
        assert body["models"] == []
        assert [(model["file"], model["workflows"]) for model in body["files"]] == [
            ("painter.safetensors", ["painted"]),
            ("style.safetensors", ["painted"]),
        ]


class TestOpenApi:
    def test_document_is_valid_and_its_examples_are_events(self, server):
        document = server.get("/openapi.json").json()
        validate(document)
        operation = document["paths"]["/v1/invoke"]["post"]
        content = operation["requestBody"]["content"]["application/json"]
        for example in content["examples"].values():
            parse_event(example["value"])
        schema = {**document, **content["schema"]}
        jsonschema.Draft202012Validator(schema).validate(event())
        assert "security" not in document
        for path in document["paths"].values():
            for operation in path.values():
                assert list(operation["responses"]["default"]["content"]) == ["application/json"]

    def test_response_is_as_the_document_says(self, server):
        document = server.get("/openapi.json").json()
        responses = document["paths"]["/v1/invoke"]["post"]["responses"]
        for answer, key in [
            (server.post("/v1/invoke", event()), "200"),
            (server.post("/v1/invoke", event("fail")), "default"),
        ]:
            schema = responses[key]["content"]["application/json"]["schema"]
            jsonschema.Draft202012Validator({**document, **schema}).validate(answer.json())


class TestMetrics:
    def test_jobs_are_counted_by_workflow_and_outcome(self, server):
        server.post("/v1/invoke", event())
        server.post("/v1/invoke", event("fail"))
        server.post("/v1/invoke", event("made-up"))
        server.post("/v1/invoke", {"input": 5})
        counted = 'comfyui_jobs_total{code="%s",workflow="%s"}'
        assert server.metric(counted % ("succeeded", "invert")) == 1
        assert server.metric(counted % ("node_failed", "fail")) == 1
        assert server.metric(counted % ("unknown_workflow", "other")) == 1
        assert server.metric(counted % ("invalid_event", "other")) == 1

    def test_phases_of_jobs_and_of_the_start_are_timed(self, server):
        server.post("/v1/invoke", event())
        for phase in ("fetch", "validate", "queue", "run", "encode", "store", "total"):
            labels = f'phase="{phase}",workflow="invert"'
            assert server.metric(f"comfyui_job_phase_seconds_count{{{labels}}}") == 1
        assert server.metric('comfyui_boot_phase_seconds{phase="torch"}') > 0

    def test_queue_device_and_memory_are_shown(self, make_server):
        server = make_server(concurrency=1)
        busy = server.metric("comfyui_device_busy_seconds_total")
        server.submit(event("steps", id="one", params={"steps": 1000, "seconds": 0.05}))
        server.submit(event(id="two"))
        server.running("one")
        assert server.metric("comfyui_jobs_running") == 1
        assert server.metric("comfyui_jobs_waiting") == 1
        assert server.metric("comfyui_device_busy_seconds_total") > busy
        assert 0 < server.metric("comfyui_device_busy_share") <= 1
        assert server.metric("comfyui_ready") == 1
        assert server.metric("process_resident_memory_bytes") > 50_000_000

    def test_models_that_the_runtime_keeps_are_shown(self, make_server):
        runtime = FakeRuntime()
        runtime.loaded_models = LoadedModels(count=3, ram_bytes=1_000_000, device_bytes=5_000)
        server = make_server(boot=False)
        assert server.metric("comfyui_models_kept") == 0
        boot_service(server.service, runtime)
        assert server.metric("comfyui_models_kept") == 3
        assert server.metric("comfyui_models_ram_bytes") == 1_000_000
        assert server.metric("comfyui_models_device_bytes") == 5_000

    def test_models_that_are_elsewhere_are_not_counted(self, make_server):
        runtime = FakeRuntime()
        runtime.loaded_models = None
        server = make_server(boot=False)
        boot_service(server.service, runtime)
        assert "comfyui_models" not in server.get("/metrics").text

    def test_refused_jobs_are_counted(self, make_server):
        server = make_server(concurrency=1, queue_limit=0)
        server.submit(event("steps", id="one", params={"steps": 1000, "seconds": 0.05}))
        error_of(server.post("/v1/invoke", event()), 429, "overloaded")
        assert server.metric('comfyui_jobs_total{code="overloaded",workflow="invert"}') == 1


def test_worker_beyond_repair_is_not_ready_and_asks_for_its_end(server, runtime, monkeypatch):
    ends = []
    monkeypatch.setattr(server.service.jobs, "_on_broken", lambda: ends.append(1))
    monkeypatch.setattr(runtime, "_broken", True)
    error_of(server.post("/v1/invoke", event()), 503, "worker_broken")
    assert ends == [1]
    assert server.get("/health").json() == {"stage": "broken"}
    assert server.get("/ready").status_code == 503


def test_nothing_is_loaded_from_elsewhere(server):
    for path in ("/docs", "/redoc"):
        error_of(server.get(path), 404, "not_found")
    assert server.get("/").status_code == 200
    assert PICTURE not in server.get("/openapi.json").text


class TestMethods:
    def test_head_is_answered_as_get_is_without_the_body(self, server):
        server.post("/v1/invoke", event(id="a"))
        for path in ("/", "/health", "/ready", "/v1/workflows", "/v1/results/a/0.png", "/metrics"):
            got, asked = server.get(path), server.client.head(path)
            assert (asked.status_code, asked.content) == (got.status_code, b""), path
            for name in ("content-type", "content-length"):
                if path != "/metrics":
                    assert asked.headers[name] == got.headers[name]
        assert server.client.head("/v1/results/b/0.png").status_code == 404

    def test_head_of_a_stream_ends_at_once(self, server):
        server.submit(event("steps", id="one", params={"steps": 1000, "seconds": 0.05}))
        asked = server.client.head("/v1/jobs/one/events", timeout=5)
        assert asked.headers["content-type"].startswith("text/event-stream")
        assert server.get("/v1/jobs/one").json()["status"] in {"queued", "running"}

    def test_allow_names_every_method_of_an_address(self, server):
        for path, allowed in [
            ("/v1/jobs/x", "DELETE, GET, HEAD"),
            ("/v1/invoke", "POST"),
            ("/health", "GET, HEAD"),
            ("/page/none.js", "GET, HEAD"),
        ]:
            refused = server.client.request("PUT", path)
            error_of(refused, 405, "method_not_allowed")
            assert refused.headers["allow"] == allowed, path


def test_answers_do_not_tell_the_machines_folders(make_server, workflows_dir, tmp_path):
    server = make_server(
        workflows_dir=workflows_dir,
        comfyui_base_dir=tmp_path / "base",
        model_dirs=(tmp_path / "volume" / "models",),
    )
    told = [server.get(path).text for path in ("/ready", "/v1/workflows", "/v1/models")]
    told += [server.post("/v1/invoke", event(name)).text for name in ("painted", "broken")]
    assert "COMFYUI_BASE_DIR/models/checkpoints, COMFYUI_MODEL_DIRS/checkpoints" in told[0]
    for text in told:
        assert str(tmp_path) not in text
