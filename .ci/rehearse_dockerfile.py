"""Run the steps of the Dockerfile, in order, where there is no container engine.

Every stage is a folder that is entered with chroot; Debian from debootstrap stands in for the base
image, so what that image adds (CUDA's compatibility driver) is not exercised, and neither are
layers, caching, build secrets and the health check's timing. Everything else is: each RUN, COPY,
ENV, ARG, WORKDIR and USER, in a system that has nothing but what the steps install.

Needs Linux, root, debootstrap and the package dockerfile-parse. It takes some minutes and 15 GB::

    apt-get install debootstrap && pip install dockerfile-parse
    python .ci/rehearse_dockerfile.py --work /tmp/rehearsal --build-arg INCLUDE_MODELS=false \
        --run "python -m handler workflows"
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from dockerfile_parse import DockerfileParser

PROJECT = Path(__file__).resolve().parent.parent
MOUNT_OPTION = re.compile(r"--mount=\S+\s+")
VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")


@dataclass(frozen=True)
class Options:
    """How to rehearse.

    Attributes:
        context: The build context.
        work: Folder for the stages.
        suite: The Debian release that stands in for the base image.
        arguments: Build arguments.
        bind: Folders of this machine to show at the same place, such as a package mirror.
        environment: Variables of this machine that every step sees.
    """

    context: Path
    work: Path
    suite: str
    arguments: dict[str, str]
    bind: tuple[str, ...]
    environment: dict[str, str]


@dataclass
class Stage:
    """A stage so far: its file system and what its instructions have set."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "0"

    def resolve(self, path: str) -> Path:
        """Return where a path of the stage lies on this machine."""
        return self.root / str(PurePosixPath(self.folder, path)).lstrip("/")


def rehearse(options: Options) -> Stage:
    """Run all steps and return the last stage.

    Raises:
        subprocess.CalledProcessError: A step failed; its output says why.
    """
    stages = {"": _base(options)}
    stage = stages[""]
    before_from: dict[str, str] = {}
    with (options.context / "Dockerfile").open("rb") as file:
        instructions = DockerfileParser(fileobj=file).structure
    for step in instructions:
        name, value = step["instruction"], step["value"]
        if name == "COMMENT":
            continue
        print(f"{name} {value[:120]}", flush=True)
        started = time.monotonic()
        if name == "FROM":
            source, _, own = _expand(value, before_from).partition(" AS ")
            stages[own] = stage = _fork(stages.get(source, stages[""]), options.work / own)
        elif len(stages) == 1:
            before_from |= _argument(value, options)
        else:
            _follow(name, value, stage, stages, options)
        print(f"    {time.monotonic() - started:.1f} s", flush=True)
    return stage


def _follow(
    name: str, value: str, stage: Stage, stages: dict[str, Stage], options: Options
) -> None:
    match name:
        case "ARG":
            stage.arguments |= _argument(value, options)
        case "ENV":
            pairs = (word.split("=", 1) for word in shlex.split(value))
            stage.environment |= {key: _expand(text, stage.environment) for key, text in pairs}
        case "WORKDIR":
            stage.folder = value
            stage.resolve(".").mkdir(parents=True, exist_ok=True)
        case "USER":
            stage.user = value
        case "COPY":
            _copy(stage, value, stages, options.context)
        case "RUN":
            run(stage, MOUNT_OPTION.sub("", value), options)
        case "HEALTHCHECK" | "CMD":
            print("    not run")
        case _:
            raise SystemExit(f"{name} has no rehearsal")


def _argument(value: str, options: Options) -> dict[str, str]:
    key, _, default = value.partition("=")
    return {key: options.arguments.get(key, default)}


def run(stage: Stage, command: str, options: Options) -> None:
    """Run a shell command in a stage, as its user, with nothing else of this machine in sight."""
    root = stage.root
    mounts = [f"mount -t proc proc {root}/proc", f"mount --rbind /dev {root}/dev"]
    for path in options.bind:
        place = root / path.lstrip("/")
        place.mkdir(parents=True, exist_ok=True)
        mounts.append(f"mount --bind {path} {place}")
    variables = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    variables |= {"HOME": "/root" if stage.user == "0" else "/home/worker"}
    variables |= options.environment | stage.arguments | stage.environment
    inside = [
        *("chroot", f"--userspec={stage.user}:{stage.user}", str(root)),
        *("/usr/bin/env", "-i", *(f"{key}={value}" for key, value in variables.items())),
        *("/bin/sh", "-c", f"cd {stage.folder} && {command}"),
    ]
    script = "; ".join(["set -e", *mounts, f"exec {shlex.join(inside)}"])
    subprocess.run(["unshare", "--mount", "--pid", "--fork", "sh", "-c", script], check=True)


def _base(options: Options) -> Stage:
    root = options.work / "base"
    if not root.exists():
        options.work.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["debootstrap", "--variant=minbase", options.suite, str(root)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        shutil.copy("/etc/resolv.conf", root / "etc" / "resolv.conf")
        shutil.copy("/etc/hosts", root / "etc" / "hosts")
    return Stage(root)


def _fork(source: Stage, root: Path) -> Stage:
    if root.exists():
        shutil.rmtree(root)
    subprocess.run(["cp", "--archive", "--reflink=auto", source.root, root], check=True)
    return replace(source, root=root, environment=dict(source.environment), arguments={})


def _copy(stage: Stage, value: str, stages: dict[str, Stage], context: Path) -> None:
    words = shlex.split(value)
    origin = context
    if words[0].startswith("--from="):
        origin = stages[words.pop(0).removeprefix("--from=")].root
    *sources, target = words
    place = stage.resolve(target)
    for source in sources:
        path = origin / source.lstrip("/")
        if path.is_dir():
            place.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "--archive", f"{path}/.", str(place)], check=True)
            continue
        to_folder = target.endswith("/") or len(sources) > 1
        place.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["cp", "--archive", path, place / path.name if to_folder else place], check=True
        )


def _expand(text: str, values: dict[str, str]) -> str:
    return VARIABLE.sub(lambda match: values.get(match[1] or match[2], ""), text)


def main() -> None:
    """Rehearse, then run the commands that were asked for in the finished image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for the stages")
    parser.add_argument("--context", type=Path, default=PROJECT, help="the build context")
    parser.add_argument("--suite", default="bookworm", help="the Debian release to stand in")
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--bind", action="append", default=[], help="a folder to show inside")
    parser.add_argument("--env", action="append", default=[], help="a variable to pass on")
    parser.add_argument("--run", action="append", default=[], help="a command for the end")
    given = parser.parse_args()
    options = Options(
        given.context.resolve(),
        given.work.resolve(),
        given.suite,
        dict(pair.split("=", 1) for pair in given.build_arg),
        tuple(given.bind),
        {name: os.environ[name] for name in given.env},
    )
    last = rehearse(options)
    for command in given.run:
        print(f"[end] {command}", flush=True)
        run(last, command, options)
    print(f"Every step passed. The image is in {last.root}.")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"A step failed with status {error.returncode}.")
