from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time

import pytest

from handler import liveness
from handler.liveness import is_live, keep_liveness_file


@pytest.fixture(autouse=True)
def _own_folder_for_temporary_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_running_server_is_healthy_and_a_broken_one_is_not(run, server, monkeypatch):
    monkeypatch.setenv("PORT", str(server.port))
    assert run("health")[:2] == (0, "running\n")
    monkeypatch.setattr(server.service.jobs, "_broken", True)
    assert run("health")[:2] == (1, "broken\n")


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_server_that_does_not_answer_is_not_healthy(run, monkeypatch, host):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PORT", str(free.getsockname()[1]))
    monkeypatch.setenv("HOST", host)
    assert run("health")[:2] == (1, "no answer\n")


def test_worker_without_a_port_is_asked_by_its_liveness_file(run):
    keep_liveness_file(every=0.1)
    while is_live() is None:
        time.sleep(0.01)
    assert run("health")[:2] == (0, "running\n")
    long_ago = time.time() - 100
    os.utime(liveness.liveness_path(), (long_ago, long_ago))
    # The process that hangs writes none.
    assert is_live(stale_after=-1) is False


def test_liveness_file_of_a_process_that_is_gone_counts_for_nothing(tmp_path):
    path = tmp_path / "alive"
    program = f"""
from pathlib import Path
from handler.liveness import is_live, keep_liveness_file
keep_liveness_file(Path({str(path)!r}))
while not is_live(Path({str(path)!r})):
    pass
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
    assert path.exists()
    assert is_live(path) is None
