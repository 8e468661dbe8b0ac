from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from places import PROJECT

import handler.platforms.runpod
from handler.contract.errors import ConfigurationError

COMMANDS = [
    "run",
    "batch",
    "runpod",
    "serve",
    "add",
    "workflows",
    "schema",
    "settings",
    "check",
    "health",
]


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_help_names_every_command_and_imports_nothing_heavy():
    done = python("-X", "importtime", "-m", "handler", "--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert re.search(rf"^ +{command}\b", done.stdout, re.MULTILINE)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "handler.cli" in imported
    packages = {name.partition(".")[0] for name in imported}
    heavy = {"pydantic", "pydantic_settings", "torch", "boto3", "botocore", "numpy", "PIL"}
    assert packages.isdisjoint(heavy)


def test_module_gives_its_commands_status_to_the_shell():
    assert python("-m", "handler", "nonsense").returncode == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(run, command):
    status, out, _ = run(command, "--help")
    assert status == 0
    assert f"python -m handler {command}" in out


@pytest.mark.parametrize(
    "argv", [(), ("nonsense",), *((c, "--nonsense") for c in COMMANDS if c != "runpod")]
)
def test_wrong_usage_ends_with_status_2_and_says_why(run, argv):
    status, out, err = run(*argv)
    assert status == 2
    assert out == ""
    assert "usage: python -m handler" in err


def test_options_of_the_runpod_sdk_are_left_to_it(run, monkeypatch):
    started = []

    def run_worker(settings):
        started.append(settings)
        return 0

    monkeypatch.setattr(handler.platforms.runpod, "run_worker", run_worker)
    status, _, _ = run("runpod", "--cpu", "--test_input", "{}", "--rp_serve_api")
    assert status == 0
    assert [settings.device for settings in started] == ["cpu"]


def test_worker_runs_on_a_gpu_unless_told_otherwise(run, monkeypatch):
    started = []
    monkeypatch.setattr(handler.platforms.runpod, "run_worker", started.append)
    monkeypatch.delenv("COMFYUI_DEVICE", raising=False)
    run("runpod")
    assert [settings.device for settings in started] == ["cuda"]


def test_failure_is_one_json_object_on_standard_error_with_status_1(run, monkeypatch):
    def refuse(_):
        raise ConfigurationError("Set BUCKET_NAME: größer.", variable="BUCKET_NAME")

    monkeypatch.setattr(handler.platforms.runpod, "run_worker", refuse)
    status, out, err = run("runpod", "--cpu")
    assert (status, out) == (1, "")
    assert json.loads(err) == {
        "error": {
            "code": "invalid_configuration",
            "message": "Set BUCKET_NAME: größer.",
            "details": {"variable": "BUCKET_NAME"},
        }
    }
    assert "größer" in err


@pytest.mark.parametrize("command", ["workflows", "run", "runpod"])
def test_setting_that_cannot_work_is_told_by_its_name(run, monkeypatch, command):
    monkeypatch.setenv("LOG_FORMAT", "xml")
    status, out, err = run(command)
    assert (status, out) == (1, "")
    error = json.loads(err)["error"]
    assert error["code"] == "invalid_configuration"
    assert "LOG_FORMAT: " in error["message"]


def test_output_that_nobody_reads_to_its_end_is_no_traceback():
    piped = f"{sys.executable} -m handler schema | head -c 1"
    ended = subprocess.run(
        ["bash", "-c", piped], cwd=PROJECT, check=False, capture_output=True, text=True, timeout=60
    )
    assert (ended.stdout, ended.stderr) == ("{", "")
