"""Commands run in this process, with settings and logging put back afterwards."""

from __future__ import annotations

import json
import logging

import pytest

from handler.cli import main

GRAPH = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "photo.png"}},
    "2": {"class_type": "Look", "inputs": {"image": ["1", 0], "steps": 1, "seed": 0}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0]}},
}
MANIFEST = """
title = "A look"
description = "Gives a photo a look."
version = "3"
license_note = "See the licence of the look."

[images.image]
node = "1"
description = "A photo."

[images.mask]
node = "1"
description = "A mask."
required = false

[parameters.steps]
type = "integer"
default = 6
minimum = 1
maximum = 50
description = "How many steps."
patches = ["2.steps"]

[parameters.seed]
type = "seed"
description = "Which noise."
patches = ["2.seed"]

[parameters.sampler]
type = "choice"
default = "euler"
choices = ["euler", "heun"]
description = "Which sampler."

[parameters.prompt]
type = "string"
default = "größer"
description = "What to add."

[[branches]]
without_image = "mask"
set = { "2.steps" = 1 }

[[models]]
folder = "loras"
file = "look.safetensors"

[[models]]
folder = "controlnet"
file = "edges.safetensors"
optional = true
"""


@pytest.fixture(autouse=True)
def _logging_as_it_was():
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(autouse=True)
def workflows(tmp_path, monkeypatch):
    """Give the commands a folder with one workflow."""
    folder = tmp_path / "workflows"
    (folder / "look").mkdir(parents=True)
    (folder / "look" / "graph.json").write_text(json.dumps(GRAPH))
    (folder / "look" / "manifest.toml").write_text(MANIFEST, encoding="utf-8")
    monkeypatch.setenv("WORKFLOWS_DIR", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def run(capsys):
    """Run a command and return its status, its output, and what it wrote to standard error."""

    def run_command(*argv: str) -> tuple[int, str, str]:
        try:
            status = main(argv)
        except SystemExit as ended:
            status = ended.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run_command
