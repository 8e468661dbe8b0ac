"""The deploy file with the real modal package: imported, and its methods run without an account."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import json
import logging
import os
import re
import subprocess
import sys
from io import BytesIO
from types import SimpleNamespace

import httpx
import pytest
from PIL import Image
from places import PROJECT
from platforms_support.http_server import PICTURE

import handler.platforms.modal
import handler.settings

FILE = PROJECT / "deploy" / "modal_app.py"

# What modal says about a class with a volume when its methods are run on this machine.
pytestmark = pytest.mark.filterwarnings("ignore:.*executing locally:UserWarning")


def photo() -> str:
    file = BytesIO()
    Image.new("RGB", (16, 12), (10, 200, 30)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def event(workflow: str, **params: object) -> dict[str, object]:
    job_input = {"workflow": workflow, "image": photo(), "params": params}
    return {"id": f"modal-{workflow}", "input": job_input}


@pytest.fixture(scope="module")
def deploy_file():
    spec = importlib.util.spec_from_file_location("modal_app", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def comfyui(deploy_file, make_function, local_settings, monkeypatch):
    """An instance of the deployed class, whose start gives the session's ComfyUI."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    monkeypatch.setattr(handler.platforms.modal, "start", make_function)
    monkeypatch.setattr(handler.platforms.modal, "guard_descriptors", lambda: None)
    monkeypatch.setattr(handler.settings, "load_settings", lambda: local_settings)
    instance = deploy_file.ComfyUI()
    # modal runs the enter hooks on this machine only for a method that is not a coroutine.
    instance.web.local()
    yield instance
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


def test_event_is_carried_out(comfyui):
    response = asyncio.run(comfyui.invoke.local(event("invert")))
    assert response["status"] == "succeeded"
    assert response["job_id"] == "modal-invert"
    assert response["outputs"][0]["url"].startswith("file://")


def test_failure_is_a_response_too(comfyui):
    response = asyncio.run(comfyui.invoke.local(event("fail")))
    assert (response["status"], response["error"]["code"]) == ("failed", "node_failed")


def test_refused_event_has_one_id_in_the_log_and_in_the_response(comfyui, json_log):
    response = asyncio.run(comfyui.invoke.local({"input": 5}))
    assert response["error"]["code"] == "invalid_event"
    assert [line["job_id"] for line in json_log] == [response["job_id"]]


def test_inputs_of_one_container_are_under_way_together(comfyui):
    async def two() -> list[dict]:
        calls = (comfyui.invoke.local({**event("invert"), "id": name}) for name in "ab")
        return await asyncio.gather(*calls)

    assert [response["job_id"] for response in asyncio.run(two())] == ["a", "b"]


def test_cancelled_input_cancels_its_job(comfyui):
    async def cancel_at_once() -> None:
        call = asyncio.create_task(comfyui.invoke.local(event("steps", steps=1000, seconds=0.01)))
        await asyncio.sleep(0.3)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(cancel_at_once())
    after = asyncio.run(comfyui.invoke.local(event("invert")))
    assert after["status"] == "succeeded"
    assert after["timings"]["queue"] < 5


def test_http_service_is_served_around_the_same_comfyui(comfyui):
    async def post() -> httpx.Response:
        transport = httpx.ASGITransport(comfyui.web.local())
        async with httpx.AsyncClient(transport=transport, base_url="http://modal") as client:
            return await client.post("/v1/invoke", json=event("invert"), timeout=60)

    answer = asyncio.run(post())
    assert answer.status_code == 200
    assert answer.json()["status"] == "succeeded"


def test_comfy_api_is_served_as_well(comfyui):
    """Its jobs are known to all containers that share a bucket."""
    info = {"name": "invert", "images": {"image": PICTURE}}
    body = {"workflow": {"__type": "serverless-comfyui/WORKFLOW", "info": info}}

    async def submit() -> str:
        transport = httpx.ASGITransport(comfyui.web.local())
        async with httpx.AsyncClient(transport=transport, base_url="http://modal") as client:
            job = (await client.post("/api/v2/jobs", json=body, timeout=60)).json()
            while job["status"] in {"queued", "running"}:
                job = (await client.get(job["urls"]["self"])).json()
            return job["status"]

    assert asyncio.run(submit()) == "succeeded"


def test_list_is_mapped_over_containers(comfyui, deploy_file, tmp_path, monkeypatch):
    def each(events, *, order_outputs):
        assert not order_outputs
        return [asyncio.run(comfyui.invoke.local(one)) for one in events]

    # What needs an account is only which machine each call runs on.
    mapped = SimpleNamespace(invoke=SimpleNamespace(map=each))
    monkeypatch.setattr(deploy_file, "ComfyUI", lambda: mapped)
    (tmp_path / "events.jsonl").write_text(
        "".join(json.dumps({**event("invert"), "id": name}) + "\n" for name in "ab")
    )
    deploy_file.batch.info.raw_f(str(tmp_path / "events.jsonl"), str(tmp_path / "out.jsonl"))
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line)["job_id"] for line in lines] == ["a", "b"]


@pytest.mark.slow
def test_comfyui_starts_after_what_is_imported_ahead_which_leaves_it_and_the_gpu_alone(
    comfyui_dir, tmp_path
):
    code = """
import json, sys
from handler.platforms.modal import import_ahead
import_ahead()
import torch
found = {"comfyui": "comfy" in sys.modules, "cuda": torch.cuda.is_initialized()}
from handler.settings import load_settings
from handler.job.start import start
start(load_settings(device="cpu"))
print(json.dumps(found))
"""
    environment = {
        **os.environ,
        "COMFYUI_DIR": str(comfyui_dir),
        "COMFYUI_BASE_DIR": str(tmp_path / "base"),
        "PYTHONPATH": str(PROJECT),
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
        "PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync",
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"comfyui": False, "cuda": False}


def test_what_the_image_is_made_of_is_there():
    text = FILE.read_text()
    calls = re.findall(r"with_files\(image, ([^)]*)\)", text)
    files = {name for call in calls for name in re.findall(r'"([^"]+)"', call)}
    assert {"provision.sh", "handler/", "workflows/"} <= files
    assert all((PROJECT / name).exists() for name in files)


def test_the_images_steps_are_those_of_provisioning():
    steps = re.findall(r'provisioned\(.*, "(\w+)"\)', FILE.read_text())
    known = re.search(r'all_steps="(.*)"', (PROJECT / "provision.sh").read_text())[1].split()
    assert steps == [step for step in known if step != "models"]


def test_the_images_variables_are_settings():
    names = set(re.findall(r'"([A-Z_]+)": ', FILE.read_text()))
    known = {
        name
        for field in handler.settings.Settings.model_fields.values()
        for name in getattr(field.validation_alias, "choices", [])
    }
    others = {"VIRTUAL_ENV", "HF_HUB_OFFLINE"}
    assert names - others - {name for name in names if name.startswith("PYTORCH_")} <= known
