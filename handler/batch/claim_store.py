"""Where claims are written down: small files that all workers of a batch share."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Protocol

from handler.contract.errors import StorageError
from handler.shelf.atomic_file import write_atomically

if TYPE_CHECKING:
    from pathlib import Path


class ClaimStore(Protocol):
    """Small files by name. Every method may be called from any thread and any machine."""

    def create(self, name: str, data: bytes) -> bool:
        """Write a file that is not there yet; of all who try at once exactly one gets ``True``.

        Raises:
            StorageError: It could not be found out.
        """

    def read(self, name: str) -> bytes | None:
        """Return a file as it was last written; ``None`` where it is not there.

        Raises:
            StorageError: It cannot be read.
        """

    def replace(self, name: str, data: bytes) -> None:
        """Write a file, in place of what is there.

        Raises:
            StorageError: It cannot be written.
        """

    def clear(self) -> None:
        """Remove every file.

        Raises:
            StorageError: They cannot be removed.
        """


class FolderClaims:
    """Files in a folder, on this machine or shared over a network file system.

    ``O_EXCL`` decides who creates a file; local file systems and NFS from version 3 keep to it
    (https://man7.org/linux/man-pages/man2/open.2.html).

    Args:
        folder: Made when the first claim is.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(self, name: str, data: bytes) -> bool:
        """Write a file that is not there yet; see :meth:`ClaimStore.create`.

        A reader may find it empty for a moment, or for good if the writer dies in between.
        """
        path = self._folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                file = path.open("xb")
            except FileExistsError:
                return False
            with file:
                file.write(data)
        except OSError as error:
            raise self._unusable(error) from error
        return True

    def read(self, name: str) -> bytes | None:
        """Return a file; see :meth:`ClaimStore.read`."""
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from error

    def replace(self, name: str, data: bytes) -> None:
        """Write a file; see :meth:`ClaimStore.replace`."""
        try:
            write_atomically(self._folder / name, data)
        except OSError as error:
            raise self._unusable(error) from error

    def clear(self) -> None:
        """Remove the folder; see :meth:`ClaimStore.clear`."""
        # Another worker may be doing the same, or write its last file.
        shutil.rmtree(self._folder, ignore_errors=True)

    def _unusable(self, error: OSError) -> StorageError:
        return StorageError(
            f"The claims in {self._folder} cannot be used ({error.strerror}): free space or "
            "rights there, or choose another place for --results."
        )
