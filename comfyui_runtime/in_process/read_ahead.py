"""Reads model files into the page cache while something else goes on.

ComfyUI maps a checkpoint into memory and touches it page by page, which a network volume answers
slowly. Read in large pieces, several at a time, before that, it comes at the rate that the disk
gives; what is in the page cache then costs no reading at all.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

_PIECE = 8 * 1024 * 1024
_THREADS = 4


class ReadAhead:
    """Reads files from its making on, in their order, on threads of its own.

    A file that cannot be read is left to whoever needs it, and to the error that they raise.

    Args:
        paths: The files.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._pieces = _pieces(paths)
        self._lock = threading.Lock()
        self._stopped = False
        self._bytes_read = 0
        self._started = time.monotonic()
        self._threads = [
            threading.Thread(target=self._read, name="read-ahead", daemon=True)
            for _ in range(_THREADS if paths else 0)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Read no further; return once no thread reads any more."""
        self._stopped = True
        self.wait()

    def wait(self) -> int:
        """Return once everything is read, with the number of bytes."""
        for thread in self._threads:
            thread.join()
        return self._bytes_read

    def _read(self) -> None:
        buffer = memoryview(bytearray(_PIECE))
        while not self._stopped and (piece := self._next()) is not None:
            path, offset = piece
            try:
                with path.open("rb", buffering=0) as file:
                    file.seek(offset)
                    count = file.readinto(buffer) or 0
            except OSError as error:
                log.warning("read-ahead failed", extra={"file": path.name, "error": str(error)})
                continue
            with self._lock:
                self._bytes_read += count

    def _next(self) -> tuple[Path, int] | None:
        with self._lock:
            return next(self._pieces, None)


def _pieces(paths: Sequence[Path]) -> Iterator[tuple[Path, int]]:
    for path in paths:
        size = path.stat().st_size if path.is_file() else 0
        for offset in range(0, size, _PIECE):
            yield path, offset
