"""The lock file: checksums of the models whose publishers state none."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from listed_models.model_list import SHA256

if TYPE_CHECKING:
    from pathlib import Path


class LockFileError(Exception):
    """The lock file has a line that is not a sha256 and a path."""


def read_lock(file: Path) -> dict[PurePosixPath, str]:
    """Read the recorded checksums, keyed by path under the models folder.

    Raises:
        LockFileError: A line is malformed; the message names it.
    """
    recorded: dict[PurePosixPath, str] = {}
    if not file.exists():
        return recorded
    for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        digest, _, path = line.partition("  ")
        if not SHA256.fullmatch(digest) or not path:
            raise LockFileError(f"{file.name}, line {number}: expected a sha256 and a path")
        recorded[PurePosixPath(path)] = digest
    return recorded


def record(file: Path, path: PurePosixPath, digest: str) -> None:
    """Append one checksum to the lock file."""
    with file.open("a", encoding="utf-8") as lock:
        lock.write(f"{digest}  {path}\n")
