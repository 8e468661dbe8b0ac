"""Writing a file so that a reader never sees part of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from pathlib import Path

PARTIAL_SUFFIX = ".partial"


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``path`` whole or not at all, replacing what is there; folders are made.

    The bytes are on the disk before the name is: neither the death of this process nor of the
    machine leaves a short file under ``path``.

    Raises:
        OSError: It could not be written; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{uuid4().hex}{PARTIAL_SUFFIX}")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
