from __future__ import annotations

import signal
import subprocess
import sys
import tempfile

import pytest

from comfyui_runtime.in_process.scratch import make_scratch

HOLD = """
from comfyui_runtime.in_process.scratch import make_scratch
scratch = make_scratch()
(scratch.folder / "picture.png").write_bytes(b"x")
print(scratch.folder.name, flush=True)
input()
"""


@pytest.fixture(autouse=True)
def _own_folder_for_temporary_files(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def other_process():
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        yield process
        process.kill()


def test_folder_of_a_killed_process_is_removed_at_the_next_start(other_process, tmp_path):
    left = tmp_path / other_process.stdout.readline().strip()
    make_scratch().remove()
    assert (left / "picture.png").exists()
    other_process.send_signal(signal.SIGKILL)
    other_process.wait(10)
    make_scratch().remove()
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_not_ours_is_left_alone(tmp_path):
    (tmp_path / "comfyui-run-mine").mkdir()
    (tmp_path / "comfyui-run-file").write_text("")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "comfyui-run-link").symlink_to(tmp_path / "elsewhere")
    make_scratch().remove()
    assert len(list(tmp_path.iterdir())) == 4
