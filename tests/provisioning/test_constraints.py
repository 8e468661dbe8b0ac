from __future__ import annotations

import re
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from places import PROJECT

from comfyui_runtime.in_process.comfy import read_source


def lines(name: str) -> list[str]:
    text = (PROJECT / name).read_text("utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def pins_of(name: str) -> dict[str, str]:
    file = PROJECT / name
    pinned = re.findall(r"^(\S+)==([^\s;]+)", file.read_text("utf-8"), re.MULTILINE)
    return {canonicalize_name(package): version for package, version in pinned}


CONSTRAINTS = (PROJECT / "constraints.txt").read_text("utf-8").replace("\\\n", "")
PINS = pins_of("constraints.txt")


def test_every_package_is_pinned_by_sha256():
    pinned = [line for line in CONSTRAINTS.splitlines() if "==" in line]
    assert len(pinned) == len(PINS) > 200
    assert [line for line in pinned if "--hash=sha256:" not in line] == []


def test_every_requirement_of_the_project_is_pinned_at_a_version_that_fits():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    requirements = [
        Requirement(text) for part in (project["dependencies"], *extras) for text in part
    ]
    problems = [
        f"{requirement}: run ./provision.sh lock"
        for requirement in requirements
        if not requirement.specifier.contains(PINS.get(canonicalize_name(requirement.name), "0"))
    ]
    assert problems == []


def test_every_choice_of_constraints_in_is_kept():
    choices = [Requirement(line) for line in lines("constraints.in")]
    assert [
        choice
        for choice in choices
        if not choice.specifier.contains(PINS[canonicalize_name(choice.name)])
    ] == []


def test_every_requirement_of_comfyui_is_pinned(comfyui_dir):
    unneeded = {
        "comfyui-frontend-package",
        "comfyui-workflow-templates",
        "comfyui-embedded-docs",
    }
    text = (comfyui_dir / "requirements.txt").read_text("utf-8")
    wanted = [Requirement(line) for line in text.splitlines() if line and not line.startswith("#")]
    release = read_source(comfyui_dir).version
    own = f"releases/{release}.txt"
    known = PINS | (pins_of(own) if (PROJECT / own).exists() else {})
    missing = {
        str(requirement)
        for requirement in wanted
        if requirement.name not in unneeded
        and not requirement.specifier.contains(known.get(canonicalize_name(requirement.name), "0"))
    }
    assert missing == set()


def test_the_two_builds_of_opencv_that_are_installed_are_pinned_at_one_version():
    builds = {name: version for name, version in PINS.items() if name.startswith("opencv")}
    assert set(builds) == {"opencv-python-headless", "opencv-contrib-python-headless"}
    assert len(set(builds.values())) == 1
