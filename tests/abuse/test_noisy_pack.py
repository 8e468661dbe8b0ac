"""A node pack that prints: at import and while it runs, from Python, from C and from children.

Each command runs in a process of its own, as a user or a platform starts it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from places import PROJECT, TESTS
from platforms_support.http_server import PICTURE

pytestmark = pytest.mark.slow

PACK = """
import ctypes, os, subprocess, sys

def make_noise(when):
    print(f"python {when}")
    print(f"at first {when}", file=sys.__stdout__, flush=True)
    os.write(1, f"descriptor {when}\\n".encode())
    libc = ctypes.CDLL(None)
    libc.puts(f"library {when}".encode())
    libc.fflush(None)
    subprocess.run(["echo", f"child {when}"], check=True)

make_noise("at import")

class Noisy:
    RETURN_TYPES, FUNCTION, CATEGORY = ("IMAGE",), "run", "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}

    def run(self, image):
        make_noise("at work")
        return (image,)

NODE_CLASS_MAPPINGS = {"Noisy": Noisy}
"""
VOICES = ("python", "at first", "descriptor", "library", "child")
NOISE = [f"{voice} {when}" for voice in VOICES for when in ("at import", "at work")]


@pytest.fixture
def environment(comfyui_dir, tmp_path):
    packs = tmp_path / "base" / "custom_nodes"
    packs.mkdir(parents=True)
    (packs / "noisy.py").write_text(PACK)
    workflow = tmp_path / "workflows" / "noisy"
    workflow.mkdir(parents=True)
    graph = (TESTS / "workflows" / "invert" / "graph.json").read_text()
    (workflow / "graph.json").write_text(graph.replace("ImageInvert", "Noisy"))
    manifest = (TESTS / "workflows" / "invert" / "manifest.toml").read_text()
    (workflow / "manifest.toml").write_text(manifest)
    (tmp_path / "event.json").write_text(json.dumps(event()))
    (tmp_path / "events.jsonl").write_text(json.dumps(event()) + "\n")
    return {
        **os.environ,
        "COMFYUI_DIR": str(comfyui_dir),
        "COMFYUI_BASE_DIR": str(tmp_path / "base"),
        "COMFYUI_DEVICE": "cpu",
        "WORKFLOWS_DIR": str(tmp_path / "workflows"),
        "RESULTS_DIR": str(tmp_path / "results"),
        "PYTHONPATH": str(PROJECT),
    }


def event() -> dict[str, object]:
    return {"id": "noisy-1", "input": {"workflow": "noisy", "image": PICTURE}}


def started(environment, folder, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.fault(
    "A node pack prints to standard output, from Python, C and children, during `run`",
    "the response stands there alone",
)
def test_run_writes_the_response_alone_to_standard_output(environment, tmp_path):
    done = started(environment, tmp_path, "-m", "handler", "run", "event.json")
    assert json.loads(done.stdout)["job_id"] == "noisy-1"
    assert [noise for noise in NOISE if noise not in done.stderr] == []


@pytest.mark.fault(
    "A node pack does the same in a batch",
    "the report stands there alone",
)
def test_batch_writes_the_report_alone_to_standard_output(environment, tmp_path):
    command = ("-m", "handler", "batch", "events.jsonl", "--results", "done.jsonl")
    done = started(environment, tmp_path, *command)
    assert json.loads(done.stdout)["succeeded"] == 1
    assert [noise for noise in NOISE if noise not in done.stderr] == []


@pytest.mark.fault(
    "A node pack writes past the log on Modal",
    "it is in the log",
)
def test_modal_container_takes_what_is_written_past_the_log_into_it(environment, tmp_path):
    code = """
import asyncio, json
from handler.platforms.modal import ModalContainer
from handler.settings import load_settings
container = ModalContainer(load_settings(), on_broken=print)
response = asyncio.run(container.invoke(json.load(open("event.json"))))
assert response["status"] == "succeeded", response
container.close()
"""
    done = started(environment, tmp_path, "-c", code)
    assert done.stdout.splitlines() == ["python at import", "python at work"]
    assert [noise for noise in NOISE if noise not in done.stderr + done.stdout] == []
