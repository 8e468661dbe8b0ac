from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from places import PROJECT
from provisioning_support.file_server import FileServer
from provisioning_support.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(PROJECT / "provision.sh", folder)
    for package in ("listed_models", "provisioning"):
        shutil.copytree(PROJECT / package, folder / package)
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(
            ("COMFYUI_", "PIP_", "UV_", "GIT_", "CIVITAI", "HF_", "NODE_PACKS", "WORKFLOWS_")
        )
        and name not in {"VIRTUAL_ENV", "PYTHONPATH"}
    }
    environment |= {
        "PYTHON": sys.executable,
        "COMFYUI_MODEL_DIRS": str(tmp_path / "no-volume"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PIP_CONFIG_FILE": os.devnull,
        "UV_CONFIG_FILE": str(tmp_path / "uv.toml"),
        "UV_CACHE_DIR": str(tmp_path / "uv-cache"),
    }
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (tmp_path / "uv.toml").write_text(f"no-index = true\nfind-links = ['{wheels}']\n", "utf-8")
    made = Project(folder, environment)
    made.write("constraints.txt", "torch==2.14.1\ntorchvision==0.29.1\n")
    made.write("constraints.in", "torch==2.14.1\n")
    made.write("comfyui_releases.txt", "")
    made.write("models.txt", "")
    made.write("models.lock", "")
    made.write("node_packs.txt", "")
    made.write("node_packs.lock", "")
    return made


@pytest.fixture
def server() -> Iterator[FileServer]:
    made = FileServer()
    yield made
    made.close()


@pytest.fixture
def other_server() -> Iterator[FileServer]:
    made = FileServer()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _needs_tools() -> None:
    missing = [tool for tool in ("aria2c", "git") if shutil.which(tool) is None]
    if missing and not os.environ.get("CI"):
        pytest.skip(f"not installed: {', '.join(missing)}")


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, "what the test waits for did not happen"
            time.sleep(0.05)

    return wait


@pytest.fixture(scope="session")
def bare_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with pip and packaging; copied by tests that install into it."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    site_packages = next(folder.glob("lib/python*/site-packages"))
    # provision.sh installs packaging from the index, which these tests go without.
    for file in importlib.metadata.files("packaging") or ():
        copy = site_packages / file
        if copy.is_relative_to(site_packages) and "__pycache__" not in file.parts:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file.locate(), copy)
    return folder


@pytest.fixture
def environment(bare_environment: Path, tmp_path: Path, project: Project) -> Path:
    """An active virtual environment of the test's own."""
    folder = tmp_path / "venv"
    shutil.copytree(bare_environment, folder, symlinks=True)
    project.environment["VIRTUAL_ENV"] = str(folder)
    return folder


@pytest.fixture
def make_wheel(tmp_path: Path) -> Callable[..., Path]:
    """Make a wheel with one module, found by pip in place of an index."""
    wheels = tmp_path / "wheels"

    def make(name: str, version: str, *, requires: str = "", source: str = "") -> Path:
        module = name.replace("-", "_")
        file = wheels / f"{module}-{version}-py3-none-any.whl"
        information = f"{module}-{version}.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        metadata += f"Requires-Dist: {requires}\n" if requires else ""
        with zipfile.ZipFile(file, "w") as wheel:
            wheel.writestr(f"{module}/__init__.py", source)
            wheel.writestr(f"{information}/METADATA", metadata)
            wheel.writestr(
                f"{information}/WHEEL",
                "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            )
            wheel.writestr(f"{information}/RECORD", "")
        return file

    return make


@pytest.fixture
def make_repository(tmp_path: Path) -> Callable[..., str]:
    """Make a git repository under a folder that stands in for GitHub; return its commit."""

    def make(name: str, files: dict[str, str], *, tag: str = "") -> str:
        folder = tmp_path / "mirror" / name
        folder.mkdir(parents=True, exist_ok=True)

        def git(*arguments: str) -> str:
            identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
            done = subprocess.run(
                ["git", *identity, *arguments],
                cwd=folder,
                check=True,
                capture_output=True,
                text=True,
            )
            return done.stdout.strip()

        git("init", "--quiet")
        for path, text in files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
        git("add", "--all")
        git("commit", "--quiet", "--message", "made by a test")
        if tag:
            git("tag", tag)
        return git("rev-parse", "HEAD")

    return make
