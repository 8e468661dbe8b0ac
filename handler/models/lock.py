"""One fetch of a file at a time, among all workers that share the volume."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOCK_SUFFIX = ".lock"


@contextlib.contextmanager
def only_fetch(target: Path) -> Iterator[bool]:
    """Yield whether this is the only one that fetches ``target``; if so, until the end.

    The system lets go of the lock when the process ends, however it ends. A file system that knows
    no locks has each worker fetch by itself.

    Raises:
        OSError: The folder cannot be written to.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.with_name(f".{target.name}{_LOCK_SUFFIX}")
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:
            yield True
            return
        yield True
        path.unlink(missing_ok=True)
    finally:
        os.close(lock)
