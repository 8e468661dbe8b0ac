"""A folder that is one process's, and how another process knows that it is left.

The system lets go of the lock when the process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOCK = ".lock"


def lock_folder(folder: Path) -> int:
    """Lock a new folder for this process.

    Returns:
        A descriptor; closing it lets go of the lock.

    Raises:
        OSError: The lock's file cannot be made.
    """
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


@contextlib.contextmanager
def is_left(folder: Path) -> Iterator[bool]:
    """Yield whether a folder's process is gone; if so, to one process at a time."""
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        # It is just being made, or removed, or not one that is locked.
        yield False
        return
    try:
        yield _locks(lock)
    finally:
        os.close(lock)


def _locks(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
