from __future__ import annotations

import os
import signal
import subprocess
import sys

from hypothesis import example, given
from hypothesis import strategies as st
from places import PROJECT

from handler.job.black_box import BlackBox, OnDevice, read_black_box

KILLED = """
import os, signal, sys
from pathlib import Path
from handler.job.black_box import BlackBox, OnDevice
box = BlackBox(Path(sys.argv[1]))
box.note(OnDevice(job_id="first"))
box.note(OnDevice(job_id="second", title="Sampler"))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_last_note_of_a_killed_process_can_be_read(tmp_path):
    path = tmp_path / "boxes" / "one"
    ended = subprocess.run([sys.executable, "-c", KILLED, path], cwd=PROJECT, check=False)
    assert ended.returncode == -signal.SIGKILL
    found = read_black_box(path)
    assert found == OnDevice(job_id="second", title="Sampler")


def test_process_with_nothing_on_the_device_leaves_nothing(tmp_path):
    with BlackBox(tmp_path / "box") as box:
        assert read_black_box(tmp_path / "box") is None
        box.note(OnDevice(job_id="a"))
        box.note(None)
    assert read_black_box(tmp_path / "box") is None
    assert read_black_box(tmp_path / "missing") is None


@example("\0" * 3000, "\0" * 3000)
@given(st.text(max_size=3000), st.text(max_size=3000))
def test_any_text_fits(tmp_path_factory, job_id, title):
    path = tmp_path_factory.getbasetemp() / f"box-{os.getpid()}"
    with BlackBox(path) as box:
        box.note(OnDevice(job_id=job_id, title=title))
    found = read_black_box(path)
    assert found is not None
    assert job_id.startswith(found.job_id)
    assert title.startswith(found.title)
