from __future__ import annotations

import os
import traceback
from pathlib import Path

import pytest
from pydantic import SecretStr

from handler.errors import ConfigurationError
from handler.settings import PROJECT_DIR, Settings, load_settings

FIELDS = Settings.model_fields
NAMES = {name: field.validation_alias.choices for name, field in FIELDS.items()}
ALL_NAMES = sorted(alias for aliases in NAMES.values() for alias in aliases)

# For every variable, a value that is not the default, and what it becomes.
VALUES = {
    "COMFYUI_DIR": ("/comfyui", Path("/comfyui")),
    "COMFYUI_BASE_DIR": ("/base", Path("/base")),
    "COMFYUI_MODEL_DIRS": ("/a/models, /b/models,", (Path("/a/models"), Path("/b/models"))),
    "WORKFLOWS_DIR": ("/workflows", Path("/workflows")),
    "COMFYUI_DEVICE": ("cpu", "cpu"),
    "COMFYUI_VRAM_MODE": ("low", "low"),
    "COMFYUI_CACHE_LRU": ("20", 20),
    "COMFYUI_ARGS": ("--fp32-vae --verbose", "--fp32-vae --verbose"),
    "COMFYUI_API_NODES": ("true", True),
    "JOB_TIMEOUT_SECONDS": ("12.5", 12.5),
    "WORKER_CONCURRENCY": ("2", 2),
    "QUEUE_LIMIT": ("0", 0),
    "STOP_GRACE_SECONDS": ("5", 5.0),
    "INPUT_MAX_BYTES": ("1000", 1000),
    "INPUT_MAX_PIXELS": ("2000", 2000),
    "INPUT_TIMEOUT_SECONDS": ("3", 3.0),
    "INPUT_MAX_REDIRECTS": ("0", 0),
    "INPUT_ALLOWED_HOSTS": ("localhost, 10.0.0.5", frozenset({"localhost", "10.0.0.5"})),
    "BUCKET_ENDPOINT_URL": ("https://s3.test", "https://s3.test"),
    "AWS_ENDPOINT_URL_S3": ("https://s3.test", "https://s3.test"),
    "AWS_ENDPOINT_URL": ("https://s3.test", "https://s3.test"),
    "BUCKET_SESSION_TOKEN": ("token", SecretStr("token")),
    "BUCKET_REGION": ("eu-central-1", "eu-central-1"),
    "AWS_REGION": ("eu-central-1", "eu-central-1"),
    "AWS_DEFAULT_REGION": ("eu-central-1", "eu-central-1"),
    "BUCKET_NAME": ("results", "results"),
    "S3_BUCKET": ("results", "results"),
    "BUCKET_ADDRESSING": ("path", "path"),
    "BUCKET_PREFIX": ("live", "live"),
    "BUCKET_PUBLIC_URL": ("https://cdn.test", "https://cdn.test"),
    "BUCKET_TIMEOUT_SECONDS": ("9", 9.0),
    "BUCKET_ATTEMPTS": ("1", 1),
    "RESULT_CACHE_CONTROL": ("no-store", "no-store"),
    "INPUT_BUCKETS": ("photos,more", frozenset({"photos", "more"})),
    "RESULTS_DIR": ("/results", Path("/results")),
    "KEPT_RESULTS_DIR": ("/kept", Path("/kept")),
    "KEPT_RESULTS_MAX_BYTES": ("5", 5),
    "LOG_LEVEL": ("DEBUG", "DEBUG"),
    "LOG_FORMAT": ("json", "json"),
}
# These two make sense together only.
KEYS = {"BUCKET_ACCESS_KEY_ID", "BUCKET_SECRET_ACCESS_KEY"}


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


def test_every_variable_is_tried_by_these_tests():
    assert VALUES.keys() | KEYS == set(ALL_NAMES)
    assert len(ALL_NAMES) == len(set(ALL_NAMES))


def test_without_any_variable_results_go_to_the_projects_folder_and_a_gpu_is_required():
    settings = load_settings()
    assert settings.device == "cuda"
    assert settings.results_dir == PROJECT_DIR / "results"
    assert settings.workflows_dir == PROJECT_DIR / "workflows"
    assert settings.model_dirs == (Path("/runpod-volume/models"),)
    assert settings.bucket_name is None
    assert settings.input_allowed_hosts == frozenset()
    assert settings.input_buckets == frozenset()


@pytest.mark.parametrize(("variable", "value", "expected"), [(n, *v) for n, v in VALUES.items()])
def test_variable_sets_its_field(monkeypatch, variable, value, expected):
    field = field_of(variable)
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


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ("BUCKET_ACCESS_KEY_ID", "BUCKET_SECRET_ACCESS_KEY"),
        ("BUCKET_SECRET_ACCESS_KEY", "BUCKET_ACCESS_KEY_ID"),
    ],
)
def test_one_key_without_the_other_is_refused_and_never_shown(monkeypatch, given, missing):
    monkeypatch.setenv("BUCKET_NAME", "results")
    monkeypatch.setenv(given, "wJalrXUtnFEMI")
    error = refused()
    assert f"set {missing} too" in error.message
    assert "BUCKET_NAME" not in error.message
    assert "Value error" not in error.message
    assert "wJalrXUtnFEMI" not in "".join(traceback.format_exception(error))


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
