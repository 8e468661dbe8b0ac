from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from io import BytesIO

import pytest
from jsonschema import Draft202012Validator
from PIL import Image
from places import PROJECT
from platforms_support.runpod_hub import GPU_POOLS, HUB_SCHEMA, TESTS_SCHEMA

from handler.contract.job_id import JobId
from handler.job.request import read_request
from handler.settings import Settings, load_settings

FOLDER = PROJECT / ".runpod"
HUB = json.loads((FOLDER / "hub.json").read_text())
TESTS = json.loads((FOLDER / "tests.json").read_text())
INPUTS = {entry["key"]: entry["input"] for entry in HUB["config"]["env"] if "input" in entry}
CASES = {case["name"]: case for case in TESTS["tests"]}


@pytest.mark.parametrize(("data", "schema"), [(HUB, HUB_SCHEMA), (TESTS, TESTS_SCHEMA)])
def test_file_is_of_the_published_form(data, schema):
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(data)


def test_gpus_are_pools():
    assert set(HUB["config"]["gpuIds"].split(",")) <= set(GPU_POOLS)


def test_cuda_is_that_of_the_image():
    text = (PROJECT / "Dockerfile").read_text()
    [release] = re.findall(r"^ARG CUDA=(\S+)$", text, re.MULTILINE)
    for config in (HUB["config"], TESTS["config"]):
        assert config["allowedCudaVersions"] == [release]


def test_what_the_hub_looks_for_is_there():
    assert (PROJECT / "Dockerfile").is_file()
    assert (PROJECT / "README.md").is_file()
    done = subprocess.run(
        [sys.executable, str(FOLDER / "handler.py"), "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "usage: python -m handler runpod" in done.stdout


def environment(values: dict[str, object]) -> dict[str, str]:
    """Write values as the Hub puts them into a worker's environment."""
    texts = {}
    for name, value in values.items():
        words = (INPUTS[name].get("trueValue"), INPUTS[name].get("falseValue"))
        texts[name] = words[not value] if isinstance(value, bool) else str(value)
    return texts


def names_of(field: str) -> list[str]:
    return Settings.model_fields[field].validation_alias.choices


def test_its_variables_are_settings_with_these_defaults(monkeypatch):
    fields = {name: field for field in Settings.model_fields for name in names_of(field)}
    assert set(INPUTS) <= set(fields)
    for name, text in environment({k: v["default"] for k, v in INPUTS.items()}).items():
        monkeypatch.setenv(name, text)
    settings = load_settings()
    for name in set(INPUTS) - {"JOB_TIMEOUT_SECONDS", "COMFYUI_API_NODES"}:
        assert getattr(settings, fields[name]) == Settings.model_fields[fields[name]].default
    on_runpod = load_settings(api_nodes=None).with_trusted_callers()
    assert settings.loads_api_nodes == on_runpod.loads_api_nodes


@pytest.mark.parametrize("name", [name for name, field in INPUTS.items() if "options" in field])
def test_every_option_is_a_value_of_its_setting(name, monkeypatch):
    for option in INPUTS[name]["options"]:
        monkeypatch.setenv(name, option["value"])
        load_settings()


@pytest.mark.parametrize("preset", HUB["config"]["presets"], ids=lambda preset: preset["name"])
def test_every_preset_sets_known_inputs(preset, monkeypatch):
    for name, text in environment(preset["defaults"]).items():
        monkeypatch.setenv(name, text)
    load_settings()


@pytest.mark.parametrize("name", CASES)
def test_every_test_is_a_job_of_an_installed_workflow(name):
    event = {"input": CASES[name]["input"]}
    read_request(event, JobId.of(name), load_settings(workflows_dir=PROJECT / "workflows"))
    # Milliseconds: a job that hangs ends by the test's limit and not by the platform's.
    assert 10_000 <= CASES[name]["timeout"] <= 600_000


def test_test_without_models_passes(make_function, local_settings):
    settings = local_settings.model_copy(update={"workflows_dir": PROJECT / "workflows"})
    case = CASES["illustrate_needs_no_model"]
    response = make_function(settings).answer({"input": case["input"]})
    assert response.status == "succeeded"
    [output] = response.outputs
    assert Image.open(BytesIO(base64.b64decode(output.base64))).format == "WEBP"
