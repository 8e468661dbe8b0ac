"""A shelf that is a folder, of this machine or shared over a network file system."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar
from uuid import uuid4

from handler.contract.errors import StorageError
from handler.shelf.shelf import OCTETS, Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from handler.shelf.shelf import Data

_PROBE_NAME = ".write-probe"
_PARTIAL = re.compile(r"\.[0-9a-f]{32}\.partial")
# No write takes as long; what is older was left by a process that died.
_PARTIAL_SECONDS = 3600.0
# Another worker may remove a folder that has just become empty between two of our steps.
_TRIES = 50

T = TypeVar("T")


class FolderShelf:
    """A folder; URLs are ``file://``, of no use on another machine, and do not expire.

    ``O_EXCL`` decides who creates a key; local file systems and NFS from version 3 keep to it
    (https://man7.org/linux/man-pages/man2/open.2.html).

    Args:
        folder: Made when something is written. Nothing is ever written outside it.
        elsewhere: What an operator can do who wants another folder, for messages.
        synced: Whether what is written outlives the machine, and not only the process: that costs
            a wait for the disk.
    """

    def __init__(
        self,
        folder: Path,
        elsewhere: str = "set RESULTS_DIR to another folder",
        *,
        synced: bool = True,
    ) -> None:
        self.folder = folder.absolute()
        self._elsewhere = elsewhere
        self._synced = synced

    def put(
        self,
        key: str,
        data: Data,
        *,
        content_type: str = OCTETS,  # noqa: ARG002
        sha256: str | None = None,  # noqa: ARG002
    ) -> None:
        """Write a file whole or not at all; see :meth:`handler.shelf.Shelf.put`.

        Where the shelf is synced, the bytes are on the disk before the name is: neither the death
        of this process nor of the machine leaves a short file under it.
        """
        path = self._path_to_write(key)
        with self._failures("written to"):
            _in_its_folder(path, lambda: _replace(path, data, synced=self._synced))

    def create(self, key: str, data: bytes) -> bool:
        """Write a file that is not there yet; see :meth:`handler.shelf.Shelf.create`.

        A reader may find it empty for a moment, or for good if the writer dies in between.
        """
        path = self._path_to_write(key)

        def write() -> bool:
            try:
                file = path.open("xb")
            except FileExistsError:
                return False
            with file:
                file.write(data)
            return True

        with self._failures("written to"):
            return _in_its_folder(path, write)

    def get(self, key: str) -> bytes | None:
        """Return a file's bytes; see :meth:`handler.shelf.Shelf.get`."""
        path = self._path(key)
        with self._failures("read"):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                return None

    def copy(self, key: str, sink: BinaryIO) -> bool:
        """Write a file's bytes to another; see :meth:`handler.shelf.Shelf.copy`."""
        path = self._path(key)
        with self._failures("read"):
            try:
                file = path.open("rb")
            except FileNotFoundError:
                return False
            with file:
                shutil.copyfileobj(file, sink)
        return True

    def has(self, key: str, sha256: str) -> bool:
        """Say whether a file has this content; see :meth:`handler.shelf.Shelf.has`."""
        path = self._path(key)
        with self._failures("read"):
            try:
                with path.open("rb") as file:
                    return hashlib.file_digest(file, "sha256").hexdigest() == sha256
            except FileNotFoundError:
                return False

    def stat(self, key: str) -> Entry | None:
        """Return a file's size and time; see :meth:`handler.shelf.Shelf.stat`."""
        path = self._path(key)
        with self._failures("read"):
            try:
                state = path.stat()
            except FileNotFoundError:
                return None
        return _entry(key, state)

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        """List files; see :meth:`handler.shelf.Shelf.list`.

        What a process that died left half written is removed.
        """
        start = self._path(prefix.rpartition("/")[0])
        entries = []
        with self._failures("read"):
            for folder, _, names in os.walk(start, onerror=_raise_unless_missing):
                for name in names:
                    path = Path(folder, name)
                    key = path.relative_to(self.folder).as_posix()
                    try:
                        state = path.stat()
                    except FileNotFoundError:
                        continue  # removed since, by another worker
                    if _PARTIAL.fullmatch(name):
                        if time.time() - state.st_mtime > _PARTIAL_SECONDS:
                            path.unlink(missing_ok=True)
                    elif key.startswith(prefix) and key > after:
                        entries.append(_entry(key, state))
        yield from sorted(entries, key=lambda entry: entry.key)

    def delete(self, key: str) -> None:
        """Remove a file and emptied folders; see :meth:`handler.shelf.Shelf.delete`."""
        path = self._path_to_write(key)
        with self._failures("written to"):
            path.unlink(missing_ok=True)
        for parent in path.parents:
            if parent == self.folder:
                break
            try:
                parent.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                break

    def url(self, key: str, *, expires_in: int | None = None) -> str:  # noqa: ARG002
        """Return a file's address; see :meth:`handler.shelf.Shelf.url`."""
        return self._path(key).as_uri()

    def full_key(self, key: str) -> str:
        """Return the path in the folder; see :meth:`handler.shelf.Shelf.full_key`."""
        return key

    def check(self) -> None:
        """Write and remove a small file; see :meth:`handler.shelf.Shelf.check`."""
        self.put(_PROBE_NAME, b"")
        self.delete(_PROBE_NAME)

    def _path(self, key: str) -> Path:
        path = self.folder / key
        if ".." in Path(key).parts or not path.is_relative_to(self.folder):
            raise self._outside(key)
        return path

    def _path_to_write(self, key: str) -> Path:
        path = self._path(key)
        # A part of the path may be a link that leads elsewhere.
        if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.folder)):
            raise self._outside(key)
        return path

    def _outside(self, key: str) -> StorageError:
        return StorageError(
            f"The key leads out of the folder {self.folder}: use another output.prefix, or "
            f"{self._elsewhere}.",
            key=key,
        )

    @contextlib.contextmanager
    def _failures(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"The folder {self.folder} cannot be {what} ({error.strerror}): free space or "
                f"rights there, or {self._elsewhere}.",
                folder=str(self.folder),
            ) from error


def _entry(key: str, state: os.stat_result) -> Entry:
    return Entry(key, state.st_size, state.st_mtime, (state.st_size, state.st_mtime_ns))


def _in_its_folder(path: Path, write: Callable[[], T]) -> T:
    for _ in range(_TRIES):
        # mkdir says that a folder exists which is gone when it looks what it is.
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            path.parent.mkdir(parents=True, exist_ok=True)
            return write()
    path.parent.mkdir(parents=True, exist_ok=True)
    return write()


def _replace(path: Path, data: Data, *, synced: bool) -> None:
    partial = path.with_name(f".{uuid4().hex}.partial")
    try:
        with partial.open("xb") as file:
            if isinstance(data, bytes):
                file.write(data)
            else:
                data.seek(0)
                shutil.copyfileobj(data, file)
            if synced:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
