"""Reads model files into the page cache in the background.

ComfyUI maps a checkpoint into memory and touches it page by page, which a network volume answers
slowly. Read beforehand in large pieces, several at a time, it arrives at the disk's full rate, and
what is in the page cache need not be read again.
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
    """Starts to read files, in order, as soon as it is created; uses its own threads.

    A file that cannot be read is skipped: what needs it reports the error.

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
        """Stop reading; return once no thread reads."""
        self._stopped = True
        self.wait()

    def wait(self) -> int:
        """Wait until everything is read; return the number of bytes."""
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
