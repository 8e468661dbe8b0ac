from __future__ import annotations

import os
import traceback
import types
from pathlib import Path
from typing import Literal, Union, get_args, get_origin

import pytest
from pydantic import SecretStr

from handler.contract.errors import ConfigurationError
from handler.settings import PROJECT_DIR, Settings, load_settings

FIELDS = Settings.model_fields
NAMES = {name: field.validation_alias.choices for name, field in FIELDS.items()}
ALL_NAMES = sorted(alias for aliases in NAMES.values() for alias in aliases)

# What users of RunPod's and AWS's tools have set already.
SHARED_NAMES = {
    "BUCKET_ENDPOINT_URL": "bucket_endpoint_url",
    "AWS_ENDPOINT_URL_S3": "bucket_endpoint_url",
    "AWS_ENDPOINT_URL": "bucket_endpoint_url",
    "BUCKET_ACCESS_KEY_ID": "bucket_access_key_id",
    "BUCKET_SECRET_ACCESS_KEY": "bucket_secret_access_key",
    "AWS_REGION": "bucket_region",
    "AWS_DEFAULT_REGION": "bucket_region",
    "BUCKET_NAME": "bucket_name",
}
KEYS = {"BUCKET_ACCESS_KEY_ID", "BUCKET_SECRET_ACCESS_KEY"}
SAMPLES = {
    str: ("https://elsewhere.test", "https://elsewhere.test"),
    # 27 bytes in base64, as WEBHOOK_SECRET asks for.
    SecretStr: (
        "YSBsb25nIHNlY3JldCBvZiAyNyBieXRlcyAh",
        SecretStr("YSBsb25nIHNlY3JldCBvZiAyNyBieXRlcyAh"),
    ),
    Path: ("/elsewhere", Path("/elsewhere")),
    tuple[Path, ...]: ("/a/models, /b,", (Path("/a/models"), Path("/b"))),
    tuple[str, ...]: ("ghibli, illustrate,", ("ghibli", "illustrate")),
    frozenset[str]: ("one.test, two.test:80,", frozenset({"one.test", "two.test:80"})),
}


def sample(variable: str) -> tuple[str, object]:
    """Return a text for a variable that is not its default, and what it becomes."""
    field = FIELDS[field_of(variable)]
    kind = field.annotation
    if get_origin(kind) in (types.UnionType, Union):  # a kind, or None for none given
        kind = get_args(kind)[0]
    if kind in SAMPLES:
        return SAMPLES[kind]
    if get_origin(kind) is Literal:
        other = next(choice for choice in get_args(kind) if choice != field.default)
        return other, other
    if kind is bool:
        return ("false", False) if field.default else ("true", True)
    value = (field.default or 0) + 1
    return str(value), value


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.upper() in ALL_NAMES or name.lower() in FIELDS:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def field_of(variable: str) -> str:
    (name,) = (name for name, aliases in NAMES.items() if variable in aliases)
    return name


def refused(**overrides) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(**overrides)
    return caught.value


def test_no_variable_means_two_settings():
    assert len(ALL_NAMES) == len(set(ALL_NAMES))


@pytest.mark.parametrize(("variable", "field"), SHARED_NAMES.items())
def test_names_that_others_tools_use_are_understood(variable, field):
    assert field_of(variable) == field


def test_without_any_variable_results_go_to_the_projects_folder_and_a_gpu_is_required():
    settings = load_settings()
    assert settings.device == "cuda"
    assert settings.results_dir == PROJECT_DIR / "results"
    assert settings.workflows_dir == PROJECT_DIR / "workflows"
    assert settings.model_dirs == (Path("/runpod-volume/models"),)
    assert settings.bucket_name is None
    assert settings.input_allowed_hosts == frozenset()
    assert settings.input_buckets == frozenset()


@pytest.mark.parametrize("variable", [name for name in ALL_NAMES if name not in KEYS])
def test_variable_sets_its_field(monkeypatch, variable):
    field = field_of(variable)
    value, expected = sample(variable)
    assert getattr(load_settings(), field) != expected
    monkeypatch.setenv(variable, value)
    assert getattr(load_settings(), field) == expected


def test_keys_of_the_bucket_are_set_together(monkeypatch):
    monkeypatch.setenv("BUCKET_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("BUCKET_SECRET_ACCESS_KEY", "secret")
    settings = load_settings()
    assert settings.bucket_access_key_id == "id"
    assert settings.bucket_secret_access_key.get_secret_value() == "secret"


def test_keys_of_awss_own_are_left_to_its_library(monkeypatch):
    defaults = load_settings()
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(variable, "key")
        assert load_settings() == defaults


@pytest.mark.parametrize(
    ("field", "variables"),
    [(field, aliases) for field, aliases in NAMES.items() if len(aliases) > 1],
)
def test_projects_own_name_wins_over_the_ones_it_shares(monkeypatch, field, variables):
    for number, variable in enumerate(variables):
        monkeypatch.setenv(variable, f"value-{number}")
    value = getattr(load_settings(), field)
    assert (value.get_secret_value() if isinstance(value, SecretStr) else value) == "value-0"


@pytest.mark.parametrize("variable", ALL_NAMES)
def test_empty_variable_counts_as_not_set(monkeypatch, variable):
    defaults = load_settings()
    monkeypatch.setenv(variable, "")
    assert load_settings() == defaults


def test_empty_name_of_the_projects_own_lets_the_shared_one_through(monkeypatch):
    monkeypatch.setenv("BUCKET_NAME", "")
    monkeypatch.setenv("S3_BUCKET", "results")
    assert load_settings().bucket_name == "results"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DEVICE", "tpu"),
        ("CONCURRENCY", "99"),
        ("CACHE_LRU", "-1"),
        ("STOP_GRACE", "never"),
        ("API_NODES", "perhaps"),
        ("MODEL_DIRS", "/elsewhere"),
        ("CACHE_CONTROL", "none"),
        ("device", "tpu"),
    ],
)
def test_variable_that_only_looks_like_a_field_is_left_alone(
    monkeypatch, tmp_path, variable, value
):
    defaults = load_settings()
    monkeypatch.setenv(variable, value)
    (tmp_path / ".env").write_text(f"{variable}={value}\n")
    assert load_settings() == defaults


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("COMFYUI_DEVICE", "gpu"),
        ("COMFYUI_VRAM_MODE", "medium"),
        ("COMFYUI_CACHE_LRU", "-1"),
        ("COMFYUI_ARGS", "--base-directory 'half"),
        ("COMFYUI_API_NODES", "perhaps"),
        ("JOB_TIMEOUT_SECONDS", "0"),
        ("JOB_TIMEOUT_SECONDS", "soon"),
        ("JOB_TIMEOUT_SECONDS", "inf"),
        ("JOB_TIMEOUT_SECONDS", "nan"),
        ("WORKER_CONCURRENCY", "0"),
        ("WORKER_CONCURRENCY", "33"),
        ("QUEUE_LIMIT", "-1"),
        ("STOP_GRACE_SECONDS", "-1"),
        ("INPUT_MAX_BYTES", "0"),
        ("INPUT_MAX_PIXELS", "1.5"),
        ("INPUT_TIMEOUT_SECONDS", "0"),
        ("INPUT_MAX_REDIRECTS", "-1"),
        ("BUCKET_ADDRESSING", "dns"),
        ("BUCKET_ATTEMPTS", "0"),
        ("BUCKET_TIMEOUT_SECONDS", "0"),
        ("KEPT_RESULTS_MAX_BYTES", "0"),
        ("LOG_LEVEL", "LOUD"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_value_that_cannot_work_is_refused_by_its_variables_name(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    message = refused().message
    assert message.startswith("Fix the environment: ")
    assert f"{variable}: " in message


def test_all_wrong_variables_are_named_at_once(monkeypatch):
    monkeypatch.setenv("COMFYUI_DEVICE", "gpu")
    monkeypatch.setenv("LOG_FORMAT", "xml")
    message = refused().message
    assert "COMFYUI_DEVICE: " in message
    assert "LOG_FORMAT: " in message


KEY_PAIRS = [
    ("BUCKET_ACCESS_KEY_ID", "BUCKET_SECRET_ACCESS_KEY"),
    ("BUCKET_SECRET_ACCESS_KEY", "BUCKET_ACCESS_KEY_ID"),
]


@pytest.mark.parametrize(("given", "missing"), KEY_PAIRS)
def test_one_key_without_the_other_is_refused_with_what_is_missing(monkeypatch, given, missing):
    monkeypatch.setenv(given, "wJalrX")
    message = refused().message
    assert f": set {missing} too, or neither" in message
    assert given not in message


@pytest.mark.parametrize(("given", "missing"), KEY_PAIRS)
def test_key_is_not_shown_where_it_is_refused(monkeypatch, given, missing):
    monkeypatch.setenv(given, "wJalrX")
    assert "wJalrX" not in "".join(traceback.format_exception(refused()))


def test_secrets_are_not_shown(monkeypatch):
    monkeypatch.setenv("BUCKET_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("BUCKET_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    monkeypatch.setenv("BUCKET_SESSION_TOKEN", "FwoGZXIvYXdz")
    settings = load_settings()
    shown = f"{settings!r} {settings} {settings.model_dump_json()}"
    assert "wJalrXUtnFEMI" not in shown
    assert "FwoGZXIvYXdz" not in shown


def test_env_file_in_the_working_directory_is_read(tmp_path):
    (tmp_path / ".env").write_text(
        "COMFYUI_DEVICE=cpu\nINPUT_BUCKETS=a, b\nBUCKET_NAME=\nOTHER_TOOLS_KEY=x\n"
    )
    settings = load_settings()
    assert settings.device == "cpu"
    assert settings.input_buckets == {"a", "b"}
    assert settings.bucket_name is None


def test_environment_wins_over_the_env_file(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("LOG_FORMAT=json\n")
    monkeypatch.setenv("LOG_FORMAT", "text")
    assert load_settings().log_format == "text"


def test_wrong_value_in_the_env_file_is_refused(tmp_path):
    (tmp_path / ".env").write_text("COMFYUI_DEVICE=gpu\n")
    assert "COMFYUI_DEVICE: " in refused().message


def test_what_the_command_line_says_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("COMFYUI_DEVICE", "cuda")
    assert load_settings(device="cpu").device == "cpu"


def test_settings_stay_as_they_were_read():
    with pytest.raises(ValueError, match="frozen"):
        load_settings().device = "cpu"


def test_node_packs_are_looked_for_beside_the_models_folders_unless_folders_are_named():
    assert load_settings(model_dirs="/a/models, /b/models").node_pack_dirs == (
        Path("/a/custom_nodes"),
        Path("/b/custom_nodes"),
    )
    assert load_settings(node_dirs="/c, /d").node_pack_dirs == (Path("/c"), Path("/d"))


def test_vram_mode_without_a_gpu_is_refused_in_a_sentence():
    with pytest.raises(ConfigurationError) as caught:
        load_settings(device="cpu", vram_mode="low")
    assert caught.value.code == "invalid_configuration"
    assert "COMFYUI_VRAM_MODE=low is for GPUs; with COMFYUI_DEVICE=cpu" in caught.value.message
