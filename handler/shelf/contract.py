"""What every storage does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from handler.contract.event import Output
    from handler.job.encode import EncodedFile


@dataclass(frozen=True)
class StoredFile:
    """A result that is stored.

    Attributes:
        url: Address to fetch it from.
        key: Its whole key, prefixes included, in the bucket or folder.
    """

    url: str
    key: str


class Storage(Protocol):
    """A place for results. Its methods may be called from any thread."""

    def store(self, file: EncodedFile, key: str, output: Output) -> StoredFile:
        """Write a result; one that is already there under the key is replaced as a whole.

        Args:
            file: The result.
            key: From :func:`handler.shelf.result_key`.
            output: Which kind of URL is wanted, and for how long.

        Raises:
            StorageError: The storage refused; the message says which setting to change.
            StorageUnavailableError: The storage was out of reach after every attempt.
        """

    def read(self, key: str) -> bytes | None:
        """Return what is stored under a key, or ``None`` where nothing is.

        Raises:
            StorageError: The storage refused to tell.
            StorageUnavailableError: The storage was out of reach after every attempt.
        """

    def locate(self, key: str, sha256: str, output: Output) -> StoredFile | None:
        """Return where a stored result is, or ``None`` where it is gone or has been replaced.

        Args:
            sha256: Of the content that is meant, in hex.
            output: Which kind of URL is wanted, and for how long.

        Raises:
            StorageError: The storage refused to tell.
            StorageUnavailableError: The storage was out of reach after every attempt.
        """

    def check(self) -> None:
        """Prove that results can be written, by writing a small file.

        Raises:
            StorageError: They cannot; the message says which setting to change.
        """
