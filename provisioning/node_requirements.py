"""Join the requirements of several node packs into one file that is resolved in one go.

Some distributions own the same files and cannot stand beside each other: the builds of OpenCV, and
those of ONNX Runtime. Whatever build a pack asks for, the one this project installs takes its
place.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

OPENCV = "opencv-python-headless"
OPENCV_BUILDS = frozenset(
    {
        "opencv-python",
        "opencv-contrib-python",
        "opencv-python-headless",
        "opencv-contrib-python-headless",
    }
)
ONNX_RUNTIME_BUILDS = frozenset(
    {"onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-silicon"}
)


class RequirementsError(Exception):
    """A pack's requirements do not fit; each line says which and what helps."""


@dataclass(frozen=True)
class Pack:
    """A node pack's requirements.

    Attributes:
        name: The pack's folder.
        requirements: Its requirements file; need not exist.
        without: Names of requirements to leave out.
    """

    name: str
    requirements: Path
    without: frozenset[str]


def join_requirements(packs: list[Pack], constraints: Path, onnx_runtime: str) -> list[str]:
    """Return the requirements of all packs, in the format of requirements.txt.

    Args:
        packs: The packs.
        constraints: A constraints file; a pack that does not fit it is refused here, by name,
            since the resolver knows no packs.
        onnx_runtime: The ONNX Runtime build that takes the place of any other. A pack's version
            of it is not kept: the build has to match the CUDA version of torch.

    Raises:
        RequirementsError: A requirement is malformed or does not fit the constraints.
    """
    pinned = _pins(constraints)
    joined: list[str] = []
    problems: list[str] = []
    for pack in packs:
        joined.append(f"# {pack.name}")
        for line in _lines(pack.requirements):
            try:
                kept = _fit(pack, line, pinned, onnx_runtime)
            except RequirementsError as error:
                problems.append(str(error))
            else:
                joined += [kept] if kept else []
    if problems:
        raise RequirementsError("\n".join(problems))
    return joined


def _fit(pack: Pack, line: str, pinned: dict[str, str], onnx_runtime: str) -> str | None:
    try:
        requirement = Requirement(line)
    except InvalidRequirement as error:
        raise RequirementsError(
            f"{pack.name} has a requirement that is not a name and versions: {line}. Pin another"
            " commit of the pack."
        ) from error
    name: str = canonicalize_name(requirement.name)
    if name in pack.without or (requirement.marker and not requirement.marker.evaluate()):
        return None
    if name in ONNX_RUNTIME_BUILDS:
        return onnx_runtime
    if name in OPENCV_BUILDS:
        requirement.name = name = OPENCV
    pin = pinned.get(name)
    if pin and not requirement.specifier.contains(pin, prereleases=True):
        raise RequirementsError(
            f"{pack.name} wants {requirement}, but constraints.txt pins {name}=={pin}. Pin a"
            f" commit of the pack that accepts it, or leave it out with without={name} in"
            " node_packs.txt."
        )
    return str(requirement)


def _lines(file: Path) -> list[str]:
    if not file.exists():
        return []
    lines = (line.split(" #")[0].strip() for line in file.read_text("utf-8-sig").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _pins(constraints: Path) -> dict[str, str]:
    pinned = re.findall(r"^([\w.-]+)==([^\s;]+)", constraints.read_text("utf-8"), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in pinned}


def _pack(text: str, folder: Path) -> Pack:
    name, _, without = text.partition("=")
    return Pack(
        name,
        folder / name / "requirements.txt",
        frozenset(canonicalize_name(part) for part in without.split(",") if part),
    )


def main(arguments: list[str]) -> int:
    """Run from ``provision.sh``; print the joined requirements and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--constraints", type=Path, required=True, help="constraints file")
    parser.add_argument("--onnx-runtime", required=True, help="the ONNX Runtime build to install")
    parser.add_argument("--custom-nodes", type=Path, required=True, help="folder of the packs")
    parser.add_argument(
        "packs", nargs="*", help="folder names, with =A,B for requirements to leave out"
    )
    options = parser.parse_args(arguments)
    packs = [_pack(text, options.custom_nodes) for text in options.packs]
    try:
        lines = join_requirements(packs, options.constraints, options.onnx_runtime)
    except (RequirementsError, OSError) as error:
        for problem in str(error).splitlines():
            print(f"provision.sh: {problem}", file=sys.stderr)
        return 1
    print(options.onnx_runtime, *lines, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
