"""A worker with an empty volume and a list, on the real ComfyUI in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
from places import PROJECT
from provisioning_support.content import safetensors, sha256
from provisioning_support.file_server import FileServer

STYLE = safetensors(b"style" * 100_000)
OTHER = safetensors(b"other" * 100)

# Makes a picture as wide as its model is large.
PACK = """
import folder_paths
import torch
from safetensors import safe_open

class Weigh:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"lora_name": (folder_paths.get_filename_list("loras"), {})}}

    def run(self, lora_name):
        path = folder_paths.get_full_path_or_raise("loras", lora_name)
        with safe_open(path, framework="pt") as file:
            width = file.get_slice("weight").get_shape()[0] // 500
        return (torch.zeros((1, 1, width, 3)),)

NODE_CLASS_MAPPINGS = {"Weigh": Weigh}
"""
GRAPH = {
    "1": {"class_type": "Weigh", "inputs": {"lora_name": "style.safetensors"}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
}
MANIFEST = """
title = "Weigh"
description = "Weighs a model."
version = "1"

[[models]]
folder = "loras"
file = "style.safetensors"

[parameters.lora]
type = "model"
folder = "loras"
default = "style.safetensors"
description = "The model."
patches = ["1.lora_name"]
"""
START = """
import json, sys, warnings
warnings.simplefilter("ignore")
from handler.settings import load_settings
from handler.job.start import start
function = start(load_settings())
for params in json.loads(sys.argv[1]):
    response = function.answer({"input": {
        "workflow": "weigh", "params": params, "output": {"delivery": "base64"}
    }})
    print(json.dumps(response.to_json()))
"""


@pytest.fixture
def host():
    server = FileServer()
    yield server
    server.close()


@pytest.fixture
def run_worker(tmp_path, comfyui_dir):
    pack = tmp_path / "base" / "custom_nodes" / "weigh"
    pack.mkdir(parents=True)
    (pack / "__init__.py").write_text(PACK)
    workflow = tmp_path / "workflows" / "weigh"
    workflow.mkdir(parents=True)
    (workflow / "graph.json").write_text(json.dumps(GRAPH))
    (workflow / "manifest.toml").write_text(MANIFEST)
    (tmp_path / "volume").mkdir()

    def run(*params, meanwhile=None, **environment):
        process = subprocess.Popen(
            [sys.executable, "-c", START, json.dumps(params)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": str(PROJECT),
                "COMFYUI_DIR": str(comfyui_dir),
                "COMFYUI_BASE_DIR": str(tmp_path / "base"),
                "COMFYUI_MODEL_DIRS": str(tmp_path / "volume" / "models"),
                "COMFYUI_DEVICE": "cpu",
                "WORKFLOWS_DIR": str(tmp_path / "workflows"),
                "MODELS_LIST": str(tmp_path / "models.txt"),
                **environment,
            },
            cwd=tmp_path,
        )
        if meanwhile is not None:
            meanwhile(process)
        told, errors = process.communicate(timeout=120)
        assert process.returncode == 0 or meanwhile is not None, errors
        return [json.loads(line) for line in told.splitlines() if line.startswith('{"sta')]

    return run


@pytest.mark.slow
def test_an_empty_volume_and_a_list_answer_their_first_job(run_worker, host, tmp_path):
    host.files["/style"] = STYLE
    host.seconds_per_chunk = 1.0  # longer than the start, so that the job has to wait
    (tmp_path / "models.txt").write_text(
        f"# groups: weigh\n{host.address('/style')}\n  dir=loras\n  out=style.safetensors\n"
        f"  checksum=sha-256={sha256(STYLE)}\n"
    )
    (response,) = run_worker({}, FETCH_MODELS="start")
    assert response["status"] == "succeeded", response
    assert response["outputs"][0]["width"] == 1000
    assert (tmp_path / "volume" / "models" / "loras" / "style.safetensors").read_bytes() == STYLE


@pytest.mark.slow
def test_what_a_killed_worker_left_is_gone_on_with(run_worker, host, tmp_path):
    host.files["/style"] = STYLE
    host.seconds_per_chunk = 0.5
    (tmp_path / "models.txt").write_text(
        f"# groups: weigh\n{host.address('/style')}\n  dir=loras\n  out=style.safetensors\n"
        f"  checksum=sha-256={sha256(STYLE)}\n"
    )
    part = tmp_path / "volume" / "models" / "loras" / "style.safetensors.part"

    def kill(process):
        while not (part.exists() and part.stat().st_size):
            time.sleep(0.02)
        process.kill()

    assert run_worker({}, FETCH_MODELS="start", meanwhile=kill) == []
    arrived = part.stat().st_size
    host.seconds_per_chunk = 0.0
    (response,) = run_worker({}, FETCH_MODELS="start")
    assert response["status"] == "succeeded", response
    assert host.requests[-1].start == arrived > 0


@pytest.mark.slow
def test_a_job_whose_model_cannot_be_fetched_says_which_and_why(run_worker, host, tmp_path):
    (tmp_path / "models.txt").write_text(
        f"# groups: weigh\n{host.address('/gone')}\n  dir=loras\n  out=style.safetensors\n"
    )
    (response,) = run_worker({}, FETCH_MODELS="start")
    assert response["error"]["code"] == "missing_model"
    assert "loras/style.safetensors" in response["error"]["message"]
    assert "status 404" in response["error"]["message"]


@pytest.mark.slow
def test_a_parameter_may_name_a_model_by_its_address(run_worker, host, tmp_path):
    host.files["/other"] = OTHER
    first, second, refused = run_worker(
        {"lora": host.address("/other")},
        {"lora": host.address("/other")},
        {"lora": "https://example.com/other.safetensors"},
        MODEL_URL_HOSTS=host.host,
        INPUT_ALLOWED_HOSTS="127.0.0.1",
    )
    assert first["status"] == second["status"] == "succeeded", first
    assert first["outputs"][0]["width"] == 1
    assert len(host.requests) == 1
    assert refused["error"]["code"] == "forbidden_address"
    assert len(list((tmp_path / "volume" / "models-by-url" / "loras").glob("*.safetensors"))) == 1
