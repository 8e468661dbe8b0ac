"""The commands of the README, as a user gives them, each in a process of its own."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import termios
import urllib.request
from io import BytesIO

import pytest
from PIL import Image
from places import PROJECT

pytestmark = pytest.mark.slow

README = (PROJECT / "README.md").read_text()


@pytest.fixture
def environment(tmp_path, comfyui_dir):
    return {
        **os.environ,
        "COMFYUI_DIR": str(comfyui_dir),
        "COMFYUI_BASE_DIR": str(tmp_path / "base"),
        "RESULTS_DIR": str(tmp_path / "results"),
    }


def handler(environment, *arguments: str, text: str | None = None):
    return subprocess.run(
        [sys.executable, "-m", "handler", *arguments],
        cwd=PROJECT,
        env=environment,
        input=text,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def in_readme(*arguments: str) -> tuple[str, ...]:
    """Return the arguments, having checked that the README gives them so."""
    assert f"python -m handler {' '.join(arguments)}\n" in README
    return arguments


def test_first_command_makes_the_picture(environment):
    command = in_readme("run", "--cpu", "--workflow", "illustrate", "--image", "samples/lake.jpg")
    done = handler(environment, *command)
    assert done.returncode == 0, done.stderr
    response = json.loads(done.stdout)
    assert response["cold_start"] is True
    with urllib.request.urlopen(response["outputs"][0]["url"]) as answer:
        picture = Image.open(BytesIO(answer.read()))
    assert picture.size == (1182, 887)
    logged = [json.loads(line) for line in done.stderr.splitlines()]
    assert {"booted", "job done"} <= {record["event"] for record in logged}


def test_sample_event_runs_and_shows_progress_on_a_terminal(environment):
    command = in_readme("run", "--cpu", "samples/event.json")
    reader, writer = pty.openpty()
    termios.tcsetwinsize(writer, (24, 100))
    process = subprocess.Popen(
        [sys.executable, "-m", "handler", *command],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=writer,
    )
    os.close(writer)
    shown = b""
    while True:
        try:
            chunk = os.read(reader, 65536)
        except OSError:  # the terminal's other end is closed
            break
        if not chunk:
            break
        shown += chunk
    output, _ = process.communicate(timeout=60)
    os.close(reader)
    assert process.returncode == 0
    assert json.loads(output)["job_id"] == "sample"
    assert b"%|" in shown


def test_broken_event_ends_with_its_error_and_status_one(environment):
    event = json.dumps({"input": {"workflow": "illustrate", "image": "no picture"}})
    done = handler(environment, "run", "--cpu", "-", text=event)
    assert done.returncode == 1
    response = json.loads(done.stdout)
    assert response["status"] == "failed"
    assert response["error"]["code"] in {"invalid_input", "not_an_image"}


def test_check_finds_nothing_wrong_with_the_model_free_workflow(environment):
    done = handler(environment, *in_readme("check", "--cpu", "--workflow", "illustrate"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAIL" not in done.stdout
    assert "ok    illustrate: node classes" in done.stdout
    assert "ok    storage takes results" in done.stdout


def test_run_without_a_gpu_stops_with_one_clear_error(environment):
    environment["CUDA_VISIBLE_DEVICES"] = ""
    done = handler(environment, "run", "--workflow", "illustrate", "--image", "samples/lake.jpg")
    assert done.returncode == 1
    assert done.stdout == ""
    assert '"code": "no_gpu"' in done.stderr
