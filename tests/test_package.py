"""The wheel, installed where nothing of the checkout can be seen."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from places import PROJECT

WORKFLOWS = ["ghibli", "ghibli-classic", "illustrate"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # A copy without what builds have left behind, which setuptools would take for sources.
    source = tmp_path_factory.mktemp("source")
    for name in ("comfyui_runtime", "handler", "listed_models", "workflows"):
        shutil.copytree(PROJECT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, source)
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder)
    pip("wheel", *options, source)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site-packages")
    pip("install", "--no-deps", "--no-index", "--target", folder, wheel)
    return folder


def pip(*arguments: object) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr


def run(installed: Path, *command: object, cwd: Path | str = "/") -> str:
    done = start(installed, *command, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def start(
    installed: Path, *command: object, cwd: Path | str = "/"
) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("COMFYUI_", "WORKFLOWS_", "RESULTS_"))
    }
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_installed_package_is_what_runs_here(installed):
    # Everything below would be worth nothing if the checkout were imported instead.
    program = "import handler, comfyui_runtime; print(handler.__file__, comfyui_runtime.__file__)"
    files = run(installed, sys.executable, "-c", program).split()
    assert [Path(file).parent.parent for file in files] == [installed, installed]


@pytest.mark.parametrize("way", ["module", "script"])
def test_bundled_workflows_are_listed_from_any_folder(installed, way):
    ways = {
        "module": [sys.executable, "-m", "handler"],
        # With this interpreter: pip wrote the path of the one that installed it.
        "script": [sys.executable, installed / "bin" / "comfyui-function"],
    }
    listed = run(installed, *ways[way], "workflows")
    titles = [line.split(" (")[0] for line in listed.splitlines() if line[:1].strip()]
    assert titles == WORKFLOWS


def test_script_calls_itself_by_its_name(installed):
    script = installed / "bin" / "comfyui-function"
    assert run(installed, script, "--help").startswith("usage: comfyui-function ")


def test_script_tells_the_version_of_the_wheel(installed, wheel):
    script = installed / "bin" / "comfyui-function"
    assert run(installed, script, "--version").strip() == wheel.name.split("-")[1]


def test_installed_package_keeps_its_data_in_the_working_directory(installed, tmp_path):
    program = (
        "from handler.settings import load_settings; s = load_settings();"
        "print(s.comfyui_dir, s.comfyui_base_dir, s.results_dir, sep='\\n')"
    )
    folders = run(installed, sys.executable, "-c", program, cwd=tmp_path).split()
    assert [Path(folder).relative_to(tmp_path).parts[0] for folder in folders] == [
        ".comfyui",
        ".comfyui",
        "results",
    ]


@pytest.mark.parametrize(
    ("command", "module", "extra"), [("serve", "uvicorn", "http"), ("runpod", "runpod", "runpod")]
)
def test_command_whose_extra_is_missing_says_what_to_install(installed, command, module, extra):
    program = (
        f"import sys; sys.modules[{module!r}] = None; sys.argv = ['handler', {command!r}, '--cpu'];"
        "from handler.__main__ import main_process; main_process()"
    )
    done = start(installed, sys.executable, "-c", program)
    assert done.returncode == 1
    error = json.loads(done.stderr)["error"]
    assert error["code"] == "invalid_configuration"
    assert f"pip install 'serverless-comfyui[{extra}]'" in error["message"]


def test_wheel_has_every_file_of_the_packages_and_of_the_workflows(wheel):
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {
        path.relative_to(PROJECT).as_posix()
        for package in ("comfyui_runtime", "handler", "listed_models")
        for path in (PROJECT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    } | {
        f"handler/bundled_workflows/{path.relative_to(PROJECT / 'workflows').as_posix()}"
        for path in (PROJECT / "workflows").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == expected
    assert packed >= {
        "comfyui_runtime/py.typed",
        "handler/py.typed",
        "handler/http/page/index.html",
    }
