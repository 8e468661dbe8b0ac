"""The private folder of a process's runs, and those that killed processes left."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

_PREFIX = "comfyui-run-"
_LOCK = ".lock"


@dataclass(frozen=True)
class Scratch:
    """A folder that is this process's alone.

    Attributes:
        lock: Descriptor of a lock on it; the system lets go of it when the process ends, however.
    """

    folder: Path
    lock: int

    def remove(self) -> None:
        """Remove the folder and let go of the lock."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.close(self.lock)


def make_scratch() -> Scratch:
    """Make the folder, and remove those whose processes are gone."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        _remove_if_left(folder)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return Scratch(folder, lock)


def _remove_if_left(folder: Path) -> None:
    # A folder without a lock is just being made, or not ours.
    with contextlib.suppress(OSError):
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)
