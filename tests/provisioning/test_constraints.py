from __future__ import annotations

import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from places import PROJECT


def lines(name: str) -> list[str]:
    text = (PROJECT / name).read_text("utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


PINS = {
    canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines("constraints.txt")
}


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
        "torchaudio",
    }
    text = (comfyui_dir / "requirements.txt").read_text("utf-8")
    wanted = [Requirement(line) for line in text.splitlines() if line and not line.startswith("#")]
    missing = {
        str(requirement)
        for requirement in wanted
        if requirement.name not in unneeded
        and not requirement.specifier.contains(PINS.get(canonicalize_name(requirement.name), "0"))
    }
    assert missing == set()


def test_one_build_of_opencv_is_pinned():
    assert [name for name in PINS if name.startswith("opencv")] == ["opencv-python-headless"]
