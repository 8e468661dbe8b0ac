"""The private folder of a process's runs, and those that killed processes left."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from comfyui_runtime.folder_lock import is_left, lock_folder

_PREFIX = "comfyui-run-"


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


def make_scratch(prefix: str = _PREFIX) -> Scratch:
    """Make the folder, and remove those of the same prefix whose processes are gone."""
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        _remove_if_left(folder)
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    return Scratch(folder, lock_folder(folder))


def _remove_if_left(folder: Path) -> None:
    with is_left(folder) as left:
        if left:
            shutil.rmtree(folder, ignore_errors=True)
