from __future__ import annotations

import subprocess
import sys

import pytest
from places import PROJECT

LEFT_BEHIND = {
    "a thread": "threading.Thread(target=threading.Event().wait).start()",
    "a function at exit": "atexit.register(threading.Event().wait)",
    "nothing": "",
}


@pytest.mark.parametrize("left", LEFT_BEHIND)
@pytest.mark.parametrize("status", [0, 3])
@pytest.mark.fault(
    "A node leaves a thread behind that Python would wait for",
    "the process ends with its status after a bounded wait",
)
def test_process_ends_with_its_status_whatever_was_left_running(left, status):
    code = (
        "import atexit, threading; from handler.process_end import leave\n"
        f"print('done'); {LEFT_BEHIND[left]}\nleave({status}, within=0.3)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.returncode == status
    assert ended.stdout == "done\n"


def test_call_that_holds_the_interpreter_at_the_end_cannot_keep_the_process():
    # PyDLL keeps the lock during the call, as an extension may.
    code = (
        "import atexit, ctypes; from handler import process_end\n"
        "process_end._LAST_RESORT = 0.3\n"
        "atexit.register(ctypes.PyDLL(None).sleep, 60)\n"
        "process_end.leave(0, within=0.2)"
    )
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=PROJECT, check=False, capture_output=True, timeout=30)
    assert ended.returncode == 1
