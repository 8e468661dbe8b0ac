"""Follows docs/workflows.md: writes the files that it shows, gives the commands that it gives."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from places import PROJECT

pytestmark = pytest.mark.slow

GUIDE = (PROJECT / "docs" / "workflows.md").read_text()


@pytest.fixture(scope="module")
def workflows(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("guide")
    files = re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", GUIDE, re.DOTALL)
    assert len(files) == 2
    for name, text in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "workflows"


def commands() -> list[str]:
    (block,) = re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    return block.strip().splitlines()


@pytest.mark.parametrize("command", commands())
def test_each_command_of_the_guide_works(command, workflows, tmp_path, comfyui_dir):
    words = shlex.split(command)
    assert words[0] == ".venv/bin/python"
    done = subprocess.run(
        [sys.executable, *words[1:]],
        cwd=PROJECT,
        env={
            **os.environ,
            "WORKFLOWS_DIR": str(workflows),
            "RESULTS_DIR": str(tmp_path),
            "COMFYUI_DIR": str(comfyui_dir),
            "COMFYUI_BASE_DIR": str(tmp_path / "base"),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if "run" in words:
        key = json.loads(done.stdout)["outputs"][0]["key"]
        with Image.open(tmp_path / key) as picture:
            assert len(picture.getcolors(maxcolors=100_000)) <= 6
    else:
        assert "poster" in done.stdout
