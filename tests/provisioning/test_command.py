from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from places import PROJECT
from provisioning_support.content import sha256

pytestmark = pytest.mark.slow

SCRIPT = PROJECT / "provision.sh"
SHELL_SCRIPTS = [SCRIPT, PROJECT / ".ci" / "run"]


def test_help_names_every_profile_step_option_and_variable(project):
    done = project.run("--help")
    assert done.returncode == 0
    script = SCRIPT.read_text("utf-8")
    named = set(re.findall(r"^    (--[a-z-]+)\)", script, re.MULTILINE))
    named |= set(re.findall(r"\$\{([A-Z_]+):-", script)) - {"BASH_SOURCE"}
    named |= {"demo", "ghibli", "ghibli-depth", "all", "test", "lock"}
    named |= set(re.findall(r"^step_(\w+)\(", script, re.MULTILINE))
    assert len(named) > 20
    assert [word for word in sorted(named) if word not in done.stdout] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ghibly"], "unknown profile or option: ghibly"),
        (["--fast"], "unknown profile or option: --fast"),
        (["--only", "torch,pizza"], "unknown step: pizza; the steps are: torch comfyui"),
        (["--only"], "--only needs a value"),
        (["--comfyui-source", "svn"], "--comfyui-source must be auto, git or pypi, not svn"),
    ],
)
def test_a_wrong_argument_is_an_error_that_changes_nothing(project, arguments, message):
    before = set(project.folder.rglob("*"))
    done = project.run(*arguments)
    assert done.returncode == 1
    assert f"provision.sh: {message}" in done.stdout
    assert set(project.folder.rglob("*")) == before


def test_an_old_python_is_refused(project, tmp_path):
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n", "utf-8")
    old.chmod(0o755)
    done = project.run("--only", "project", PYTHON=str(old))
    assert done.returncode == 1
    assert "no Python 3.11 or newer was found" in done.stdout


def test_a_pair_that_does_not_load_is_found_out(project, environment, make_wheel):
    make_wheel("torch", "2.14.1")
    make_wheel("torchvision", "0.29.1", source="raise RuntimeError('nms does not exist')")
    done = project.run("--only", "torch", "--torch-index", "pypi")
    assert done.returncode == 1
    assert "torch and torchvision do not load together" in done.stdout


def test_torch_is_installed_as_pinned_and_once(project, environment, make_wheel):
    for version in ("2.14.1", "2.15.0"):
        make_wheel("torch", version)
    make_wheel("torchvision", "0.29.1", requires="torch")
    first = project.run("--only", "torch", "--torch-index", "pypi")
    assert first.returncode == 0, first.stdout
    assert "+ torch==2.14.1\n + torchvision==0.29.1" in first.stdout
    second = project.run("--only", "torch", "--torch-index", "pypi")
    assert "present" in second.stdout
    forced = project.run("--only", "torch", "--torch-index", "pypi", "--force")
    assert forced.returncode == 0, forced.stdout
    assert "present" not in forced.stdout
    assert "+ torch" not in forced.stdout


def pin_torch(project, torch: str, torchvision: str) -> None:
    lines = (
        f"torch==2.14.1 --hash=sha256:{torch}",
        f"torchvision==0.29.1 --hash=sha256:{torchvision}",
    )
    project.write("constraints.txt", "\n".join(lines) + "\n")


def test_a_package_with_another_sha256_than_the_pinned_one_is_refused(
    project, environment, make_wheel
):
    torch = sha256(make_wheel("torch", "2.14.1").read_bytes())
    make_wheel("torchvision", "0.29.1")
    pin_torch(project, torch, "0" * 64)
    done = project.run("--only", "torch", "--torch-index", "pypi")
    assert done.returncode != 0
    assert "Hash mismatch for `torchvision==0.29.1`" in done.stdout


def test_builds_of_pytorchs_own_index_are_accepted_and_kept(
    project, environment, make_wheel, tmp_path
):
    dependency = sha256(make_wheel("dependency", "1.0").read_bytes())
    make_wheel("torch", "2.14.1+cpu", requires="dependency")
    make_wheel("torchvision", "0.29.1+cpu")
    pin_torch(project, "0" * 64, "0" * 64)
    constraints = (project.folder / "constraints.txt").read_text("utf-8")
    project.write("constraints.txt", f"{constraints}dependency==1.0 --hash=sha256:{dependency}\n")
    index = (tmp_path / "wheels").as_uri()
    done = project.run("--only", "torch", "--torch-index", index)
    assert done.returncode == 0, done.stdout
    assert "+ torch==2.14.1+cpu" in done.stdout
    assert "+ dependency==1.0" in done.stdout


def test_a_build_for_cuda_12_brings_its_own_cuda_libraries(
    project, environment, make_wheel, tmp_path
):
    for version in ("12.6.3", "13.0.3"):
        make_wheel("cuda-toolkit", version)
    for version in ("1.0", "2.0"):
        make_wheel("other", version)
    make_wheel("torch", "2.14.1+cu126", requires="cuda-toolkit==12.6.3")
    make_wheel("torchvision", "0.29.1+cu126", requires="other")
    pin_torch(project, "0" * 64, "0" * 64)
    constraints = (project.folder / "constraints.txt").read_text("utf-8")
    other = sha256((tmp_path / "wheels" / "other-1.0-py3-none-any.whl").read_bytes())
    pins = (
        f"cuda-toolkit==13.0.3 \\\n    --hash=sha256:{'0' * 64}\nother==1.0 --hash=sha256:{other}\n"
    )
    project.write("constraints.txt", constraints + pins)
    index = (tmp_path / "wheels").as_uri()
    done = project.run("--only", "torch", "--torch-index", index)
    assert done.returncode == 0, done.stdout
    assert "+ torch==2.14.1+cu126" in done.stdout
    assert "+ cuda-toolkit==12.6.3" in done.stdout
    assert "+ other==1.0" in done.stdout


@pytest.mark.parametrize("script", SHELL_SCRIPTS, ids=lambda script: script.name)
def test_shellcheck_has_nothing_to_say(script):
    shellcheck = Path(sys.executable).parent / "shellcheck"
    done = subprocess.run([shellcheck, script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
