"""The end of the process, whatever node packs left running in it."""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
from typing import NoReturn

log = logging.getLogger(__name__)

_WITHIN = 10.0
_LAST_RESORT = 5.0


def leave(status: int, within: float = _WITHIN) -> NoReturn:
    """End the process with a status.

    Python waits without limit for threads that are no daemons, and for functions registered with
    ``atexit``; both may be a node pack's. What has not ended within the time is left behind.

    Args:
        within: Seconds.
    """
    timer = threading.Timer(within, _abandon, (status,))
    timer.daemon = True
    timer.start()
    # Where a call into C holds the interpreter's lock, no timer of Python's own can run.
    faulthandler.dump_traceback_later(within + _LAST_RESORT, exit=True)
    sys.exit(status)


def _abandon(status: int) -> None:
    left = [
        thread.name
        for thread in threading.enumerate()
        if not thread.daemon and thread is not threading.main_thread()
    ]
    log.warning("process ends with threads left running", extra={"threads": left})
    end_now(status)


def end_now(status: int) -> NoReturn:
    """End the process with a status, whatever runs in it; what was printed is written."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)
