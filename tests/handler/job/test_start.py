"""The cold start, in a process of its own, and the start with a ComfyUI that runs elsewhere."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from places import PROJECT, WORKFLOWS

from comfyui_runtime.errors import ServerUnreachableError
from handler.commands.install_check import Finding, check_installation
from handler.contract.errors import ConfigurationError
from handler.contract.response import Success
from handler.job.start import start
from handler.settings import load_settings

START = """
import json
import warnings
warnings.simplefilter("ignore")
from handler.settings import load_settings
from handler.job.start import start
reports = []
function = start(load_settings(), on_boot=reports.append)
response = function.answer({"input": {
    "workflow": "invert", "image": IMAGE, "output": {"delivery": "base64"}
}})
print(json.dumps({"phases": list(reports[0].phases), "response": response.to_json()}))
"""


def photo_base64(photo) -> str:
    file = BytesIO()
    Image.fromarray(photo.pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def is_inverted(photo, output) -> bool:
    with Image.open(BytesIO(base64.b64decode(output))) as picture:
        return np.abs(255 - photo.pixels.astype(int) - np.asarray(picture)).max() <= 1


@pytest.mark.slow
def test_warm_up_is_a_phase_of_the_start_and_the_first_job_runs(comfyui_dir, tmp_path, photo):
    done = subprocess.run(
        [sys.executable, "-c", START.replace("IMAGE", repr(photo_base64(photo)))],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": str(PROJECT),
            "COMFYUI_DIR": str(comfyui_dir),
            "COMFYUI_BASE_DIR": str(tmp_path / "base"),
            "COMFYUI_DEVICE": "cpu",
            "WORKFLOWS_DIR": str(WORKFLOWS),
            "WARM_UP_WORKFLOWS": "invert",
        },
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.strip().splitlines()[-1])
    assert said["phases"][-2:] == ["node_packs", "warm_up"]
    assert is_inverted(photo, said["response"]["outputs"][0]["base64"])


def test_graphs_run_on_the_server_that_the_setting_names(server_url, photo, tmp_path):
    settings = load_settings(
        comfyui_server_url=server_url, workflows_dir=WORKFLOWS, results_dir=tmp_path / "results"
    )
    job_input = {"workflow": "invert", "image": photo_base64(photo)}
    event = {"input": job_input | {"output": {"delivery": "base64"}}}
    response = start(settings).answer(event)
    assert isinstance(response, Success), response
    assert is_inverted(photo, response.outputs[0].base64)
    assert response.timings.run > 0


def test_server_that_does_not_answer_stops_the_start(tmp_path):
    settings = load_settings(comfyui_server_url="http://127.0.0.1:9", results_dir=tmp_path)
    with pytest.raises(ServerUnreachableError, match="COMFYUI_SERVER_URL"):
        start(settings)


def test_address_of_a_server_must_be_one_of_http(monkeypatch):
    monkeypatch.setenv("COMFYUI_SERVER_URL", "127.0.0.1:8188")
    with pytest.raises(ConfigurationError, match="COMFYUI_SERVER_URL"):
        load_settings()


def test_check_of_an_installation_asks_the_server_alone(server_url, tmp_path):
    settings = load_settings(
        comfyui_server_url=server_url, comfyui_dir=tmp_path / "nowhere", results_dir=tmp_path
    )
    findings = list(check_installation(settings, only=None, quick=False))
    assert findings == [Finding("the ComfyUI server answers")]
