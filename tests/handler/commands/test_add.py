"""The command as users run it, on the real ComfyUI's node definitions."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from places import PROJECT

from comfyui_runtime.workflow.manifest import load_workflow

EXPORT = {
    "last_node_id": 3,
    "last_link_id": 2,
    "version": 0.4,
    "nodes": [
        {
            "id": 1,
            "type": "LoadImage",
            "mode": 0,
            "inputs": [],
            "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1]}],
            "widgets_values": ["photo.png", "image"],
        },
        {
            "id": 2,
            "type": "ImageBlur",
            "title": "@softness:blur_radius How soft it becomes.",
            "mode": 0,
            "inputs": [{"name": "image", "type": "IMAGE", "link": 1}],
            "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [2]}],
            "widgets_values": [3, 1.5],
        },
        {
            "id": 3,
            "type": "SaveImage",
            "mode": 0,
            "inputs": [{"name": "images", "type": "IMAGE", "link": 2}],
            "outputs": [],
            "widgets_values": ["result"],
        },
    ],
    "links": [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]],
}

PAID = {
    "1": {"class_type": "GeminiNode", "inputs": {}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}},
}


@pytest.fixture
def run(tmp_path, comfyui_dir):
    def handler(*arguments):
        return subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "handler", *arguments],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            cwd=PROJECT,
            env={
                **os.environ,
                "COMFYUI_DIR": str(comfyui_dir),
                "COMFYUI_BASE_DIR": str(tmp_path / "base"),
                "WORKFLOWS_DIR": str(tmp_path / "added"),
            },
        )

    return handler


@pytest.fixture
def export(tmp_path):
    path = tmp_path / "Soft photo.json"
    path.write_text(json.dumps(EXPORT))
    return str(path)


@pytest.mark.slow
def test_editors_file_becomes_a_workflow_that_runs(run, export, tmp_path):
    done = run("add", export, "--offline", f"--lists={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "param  softness (integer 1 to 31, 3): How soft it becomes." in done.stdout
    assert '{"input": {"workflow": "soft-photo", "image": "https://example.com' in done.stdout
    manifest = load_workflow(tmp_path / "added", "soft-photo").manifest
    assert manifest.images["image"].node == "1"
    assert manifest.parameters["softness"].patches == ("2.blur_radius",)
    ran = run("run", "--cpu", "--workflow", "soft-photo", "--image", "samples/lake.jpg")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["outputs"]


@pytest.mark.slow
def test_dry_run_shows_the_manifest_and_writes_nothing(run, export, tmp_path):
    done = run("add", export, "--dry-run", "--offline", "--name", "soft")
    assert done.returncode == 0, done.stderr
    assert "[parameters.softness]" in done.stdout
    assert not (tmp_path / "added").exists()


@pytest.mark.parametrize(
    ("content", "arguments", "code"),
    [
        ("not json", (), "invalid_workflow_file"),
        ('{"1": {"class_type": "A", "inputs": {"a": ["1", 0]}}}', (), "invalid_workflow_file"),
        (json.dumps(EXPORT), ("--name", "Not a name"), "invalid_workflow_file"),
        pytest.param(json.dumps(PAID), (), "needs_account", marks=pytest.mark.slow),
    ],
)
def test_bad_input_is_one_clear_error(run, tmp_path, content, arguments, code):
    path = tmp_path / "bad.json"
    path.write_text(content)
    done = run("add", str(path), "--offline", *arguments)
    assert done.returncode == 1
    error = json.loads(done.stderr[done.stderr.index('{\n  "error"') :])
    assert error["error"]["code"] == code
    assert done.stdout == ""
