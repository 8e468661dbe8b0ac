"""Join the requirements of several node packs into one file that is resolved in one go.

Some distributions own the same files and cannot stand beside each other: the builds of OpenCV, and
those of ONNX Runtime. Whatever build a pack or one of its requirements asks for, the one this
project installs takes its place.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement, Requirement

from provisioning.git_requirements import (
    GitRequirement,
    GitRequirementError,
    parse_git_requirement,
)
from provisioning.pack_requirements import Pack, canonical, parse_pack

OPENCV = "opencv-python-headless"
OPENCV_CONTRIB = "opencv-contrib-python-headless"
OPENCV_CONTRIB_BUILDS = frozenset({"opencv-contrib-python", OPENCV_CONTRIB})
OPENCV_BUILDS = OPENCV_CONTRIB_BUILDS | {"opencv-python", OPENCV}
ONNX_RUNTIME_BUILDS = frozenset(
    {"onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-silicon"}
)


class RequirementsError(Exception):
    """A pack's requirements do not fit; each line says which and what helps."""


@dataclass(frozen=True)
class Joined:
    """The requirements of all packs.

    Attributes:
        requirements: Lines in the format of requirements.txt; the first are the builds that take
            the place of all others, and they stand alone.
        replaced: Names of the builds that must not be installed beside them.
    """

    requirements: tuple[str, ...]
    replaced: tuple[str, ...]


@dataclass(frozen=True)
class _Wanted:
    pack: Pack
    requirement: Requirement | GitRequirement

    @property
    def name(self) -> str:
        return canonical(self.requirement.name)


def join_requirements(
    packs: list[Pack], constraints: Path, onnx_runtime: str, git_folder: Path
) -> Joined:
    """Return the requirements of all packs.

    Args:
        packs: The packs.
        constraints: A constraints file; a pack that does not fit it is refused here, by name,
            since the resolver knows no packs.
        onnx_runtime: The ONNX Runtime build that takes the place of any other. A pack's version
            of it is not kept: the build has to match the CUDA version of torch.
        git_folder: Where the git repositories that packs require were fetched.

    Raises:
        RequirementsError: A requirement is malformed or does not fit the constraints.
    """
    problems: list[str] = []
    wanted: list[_Wanted] = []
    for pack in packs:
        for line in pack.lines():
            try:
                requirement = _parse(pack, line)
            except RequirementsError as error:
                problems.append(str(error))
            else:
                wanted += [_Wanted(pack, requirement)] if requirement else []
    contrib = any(one.name in OPENCV_CONTRIB_BUILDS for one in wanted)
    opencv = OPENCV_CONTRIB if contrib else OPENCV
    # A requirement of a requirement may ask for a build of OpenCV, so that packs always get one.
    builds = (onnx_runtime, opencv) if packs else (onnx_runtime,)
    families = ONNX_RUNTIME_BUILDS | (OPENCV_BUILDS if packs else frozenset())
    lines: dict[str, None] = dict.fromkeys(builds)
    pinned = _pins(constraints)
    for one in wanted:
        try:
            lines[_fit(one, pinned, builds[0], opencv, git_folder)] = None
        except (RequirementsError, GitRequirementError) as error:
            problems.append(str(error))
    if problems:
        raise RequirementsError("\n".join(problems))
    return Joined(tuple(lines), tuple(sorted(families.difference(builds))))


def _parse(pack: Pack, line: str) -> Requirement | GitRequirement | None:
    """Return a requirement; ``None`` if it is left out or for another environment."""
    try:
        git = parse_git_requirement(line)
        if git:
            applies = not git.marker or Marker(git.marker).evaluate()
            return git if applies and not git.names & pack.without else None
        requirement = Requirement(line)
    except GitRequirementError as error:
        raise RequirementsError(f"{pack.name} requires {error}. {_ADVICE}") from error
    except (InvalidRequirement, InvalidMarker) as error:
        raise RequirementsError(
            f"{pack.name} has a requirement that is not a name and versions: {line}. {_ADVICE}"
        ) from error
    applies = not requirement.marker or requirement.marker.evaluate()
    return requirement if applies and canonical(requirement.name) not in pack.without else None


_ADVICE = "Pin another commit of the pack."


def _fit(
    wanted: _Wanted, pinned: dict[str, str], onnx_runtime: str, opencv: str, git_folder: Path
) -> str:
    name, requirement = wanted.name, wanted.requirement
    if name in ONNX_RUNTIME_BUILDS:
        return onnx_runtime
    if isinstance(requirement, GitRequirement):
        fits, line = name not in pinned, requirement.installed_from(git_folder)
        text = f"{name} from {requirement.address}"
    else:
        if name in OPENCV_BUILDS:
            requirement.name = name = opencv
        pin = pinned.get(name)
        fits = not pin or requirement.specifier.contains(pin, prereleases=True)
        text = line = str(requirement)
    if not fits:
        raise RequirementsError(
            f"{wanted.pack.name} wants {text}, but constraints.txt pins {name}=={pinned[name]}. Pin"
            f" a commit of the pack that accepts it, or leave it out with without={name} in"
            " node_packs.txt."
        )
    return line


def _pins(constraints: Path) -> dict[str, str]:
    pinned = re.findall(r"^([\w.-]+)==([^\s;]+)", constraints.read_text("utf-8"), re.MULTILINE)
    return {canonical(name): version for name, version in pinned}


def main(arguments: list[str]) -> int:
    """Run from ``provision.sh``; write both files and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--constraints", type=Path, required=True, help="constraints file")
    parser.add_argument("--onnx-runtime", required=True, help="the ONNX Runtime build to install")
    parser.add_argument("--custom-nodes", type=Path, required=True, help="folder of the packs")
    parser.add_argument("--git", type=Path, required=True, help="folder of fetched repositories")
    parser.add_argument("--requirements", type=Path, required=True, help="written: requirements")
    parser.add_argument("--overrides", type=Path, required=True, help="written: uv's overrides")
    parser.add_argument(
        "packs", nargs="*", help="folder names, with =A,B for requirements to leave out"
    )
    options = parser.parse_args(arguments)
    packs = [parse_pack(text, options.custom_nodes) for text in options.packs]
    try:
        joined = join_requirements(packs, options.constraints, options.onnx_runtime, options.git)
    except (RequirementsError, OSError) as error:
        for problem in str(error).splitlines():
            print(f"provision.sh: {problem}", file=sys.stderr)
        return 1
    options.requirements.write_text("".join(f"{line}\n" for line in joined.requirements), "utf-8")
    # An override that never applies keeps a package out, whoever requires it.
    never = (f"{name} ; sys_platform == 'none'\n" for name in joined.replaced)
    options.overrides.write_text("".join(never), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
