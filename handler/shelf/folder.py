"""Results in a folder of this machine, for work without a bucket."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from handler.contract.errors import StorageError
from handler.shelf.atomic_file import write_atomically
from handler.shelf.contract import StoredFile

if TYPE_CHECKING:
    from pathlib import Path

    from handler.contract.event import Output
    from handler.job.encode import EncodedFile

_PROBE_NAME = ".write-probe"


class LocalStorage:
    """A folder; URLs are ``file://``, of no use on another machine, and do not expire.

    Args:
        folder: Made when something is stored. Nothing is ever written outside it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

    def store(self, file: EncodedFile, key: str, output: Output) -> StoredFile:  # noqa: ARG002
        """Write a result; see :meth:`handler.shelf.Storage.store`."""
        path = self._path(key)
        self._write(path, file.data)
        return StoredFile(path.as_uri(), key)

    def read(self, key: str) -> bytes | None:
        """Return a file's bytes; see :meth:`handler.shelf.Storage.read`."""
        path = self._path(key)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(
                f"The file {path} cannot be read ({error.strerror}): check the rights there."
            ) from error

    def locate(self, key: str, sha256: str, output: Output) -> StoredFile | None:  # noqa: ARG002
        """Return where a file is; see :meth:`handler.shelf.Storage.locate`."""
        data = self.read(key)
        if data is None or hashlib.sha256(data).hexdigest() != sha256:
            return None
        return StoredFile(self._path(key).as_uri(), key)

    def check(self) -> None:
        """Write and remove a small file; see :meth:`handler.shelf.Storage.check`."""
        probe = self._folder / _PROBE_NAME
        self._write(probe, b"")
        probe.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        path = self._folder / key
        # Resolved, because a part of the path may be a link that leads elsewhere.
        inside = path.resolve().is_relative_to(self._folder.resolve())
        if not inside or ".." in path.parts:
            raise StorageError(
                "The result's key leads out of RESULTS_DIR: use another output.prefix.", key=key
            )
        return path

    def _write(self, path: Path, data: bytes) -> None:
        try:
            write_atomically(path, data)
        except OSError as error:
            raise StorageError(
                f"The folder {self._folder} cannot be written to ({error.strerror}): free space "
                "or rights there, or set RESULTS_DIR to another folder.",
                folder=str(self._folder),
            ) from error
