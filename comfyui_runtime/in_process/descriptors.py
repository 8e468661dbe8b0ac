"""Descriptors 1 and 2, which C libraries write to and node packs close.

Python's own streams move to descriptors that nobody knows; 1 and 2 become a pipe whose other end
is read into the log, so many bytes a second and no more.
"""

from __future__ import annotations

import faulthandler
import io
import logging
import os
import select
import sys
import threading
import time
from typing import TextIO

log = logging.getLogger(__name__)

_STANDARD = (1, 2)
_WINDOW = 1.0
_LOGGED_PER_WINDOW = 8 * 1024
_END = 2 * 1024


class _Guard:
    pipe: int | None = None
    output: _Moved | None = None


def guard_descriptors(*, keep_output_apart: bool = False) -> None:
    """Take 1 and 2 into the log from now on. Once per process, before logging is set up.

    What Python writes to ``sys.stdout`` and ``sys.stderr`` goes where it went. Should the process
    crash, Python's traceback goes there as well.

    Args:
        keep_output_apart: Whether only :func:`standard_output` leads to standard output, and what
            node packs print goes to standard error.
    """
    if _Guard.pipe is not None:
        return
    _Guard.output, errors = _Moved(1), _Moved(2)
    sys.stdout, sys.stderr = errors if keep_output_apart else _Guard.output, errors
    faulthandler.enable(os.dup(2))
    reader, _Guard.pipe = os.pipe()
    mend_descriptors(replace=True)
    threading.Thread(target=_read, args=(reader,), name="descriptors", daemon=True).start()


def standard_output() -> TextIO:
    """Return what leads to the process's standard output, guarded or not."""
    return _Guard.output or sys.stdout


def discard_output() -> None:
    """Throw away what is still to be written to standard output, which nobody reads any more."""
    output = _Guard.output.descriptor if _Guard.output else sys.stdout.fileno()
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)


def mend_descriptors(*, replace: bool = False) -> None:
    """Put back what a node closed. Does nothing without a guard."""
    if _Guard.pipe is None:
        return
    for number in _STANDARD:
        if replace or not _is_open(number):
            os.dup2(_Guard.pipe, number)
            if not replace:
                log.warning("a node closed a standard descriptor", extra={"descriptor": number})


class _Moved(io.TextIOWrapper):
    """A standard stream on a descriptor of its own, which neither it nor anybody else closes."""

    def __init__(self, number: int) -> None:
        stream = sys.stdout if number == 1 else sys.stderr
        stream.flush()
        self._number = number
        self.descriptor = os.dup(number)
        super().__init__(
            os.fdopen(self.descriptor, "wb"),
            encoding=getattr(stream, "encoding", "utf-8"),
            errors="backslashreplace",
            line_buffering=True,
        )

    def fileno(self) -> int:
        """Return the usual number: what is done with it concerns C code and children alone."""
        return self._number

    def close(self) -> None:
        """Stay open."""
        self.flush()


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _read(reader: int) -> None:
    window_ends, left, end, omitted = 0.0, 0, b"", 0
    ready = select.poll()
    ready.register(reader, select.POLLIN)
    while True:
        data = os.read(reader, 65536) if ready.poll(_WINDOW * 1000 if omitted else None) else b""
        now = time.monotonic()
        if now >= window_ends:
            if omitted:
                _log(end, omitted)
            window_ends, left, end, omitted = now + _WINDOW, _LOGGED_PER_WINDOW, b"", 0
        if left:
            _log(data[:left], 0)
        rest = data[left:]
        left = max(left - len(data), 0)
        if rest:
            omitted += len(rest)
            end = (end + rest)[-_END:]


def _log(data: bytes, omitted: int) -> None:
    text = data.decode(errors="backslashreplace").strip()
    if text:
        more = {"bytes_left_out": omitted - len(data)} if omitted else {}
        log.info("output past the log", extra={"text": text, **more})
