from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from places import PROJECT, TESTS

HELD = """
import sys
from pathlib import Path

import numpy as np

from comfyui_runtime.in_process import watchdog
from comfyui_runtime.in_process.boot import boot
from comfyui_runtime.in_process.options import BootOptions
from runtime_support import assert_next_job_runs, chain, run
from comfyui_runtime.workflow.images import PixelImage

watchdog._MARGIN = 0.5
options = BootOptions(
    Path(sys.argv[1]), Path(sys.argv[2]), device="cpu", stop_grace=0.2, exit_when_stuck=True
)
runtime, _ = boot(options)
photo = PixelImage(np.zeros((8, 8, 3), np.uint8))
assert_next_job_runs(runtime, photo)
print("first job done", flush=True)
run(runtime, chain(photo, "TestHoldInterpreter", seconds=60), timeout=0.2)
"""


@pytest.mark.slow
@pytest.mark.fault(
    "A node holds the interpreter's lock past every limit",
    "the process ends, with every thread's traceback in the log",
)
def test_node_that_holds_the_interpreter_past_every_limit_ends_the_process(comfyui_dir, tmp_path):
    shutil.copytree(TESTS / "node_packs", tmp_path / "custom_nodes")
    paths = [str(PROJECT), str(TESTS), os.environ.get("PYTHONPATH", "")]
    ended = subprocess.run(
        [sys.executable, "-c", HELD, str(comfyui_dir), str(tmp_path)],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert ended.stdout == "first job done\n"
    assert ended.returncode == 1
    assert "Timeout" in ended.stderr
    # The traceback names the node's own code.
    assert "test_nodes" in ended.stderr
