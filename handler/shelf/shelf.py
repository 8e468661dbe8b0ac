"""The interface of a place for bytes: a folder or a bucket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

Data = bytes | BinaryIO
OCTETS = "application/octet-stream"


@dataclass(frozen=True)
class Entry:
    """What a listing says of a key.

    Attributes:
        size: Bytes.
        written_at: Seconds since the epoch.
        version: Changes whenever the content does.
    """

    key: str
    size: int
    written_at: float
    version: tuple[str | int, ...]


class Shelf(Protocol):
    """Bytes by key. Its methods may be called from any thread, and by any number of workers.

    Keys are names with single slashes between them, below the shelf's own prefix. No key may be
    a folder of another. Every method raises ``StorageError`` where the shelf refuses, with a
    message that says which setting to change, and ``StorageUnavailableError`` where it was out of
    reach after every attempt.
    """

    def put(
        self, key: str, data: Data, *, content_type: str = OCTETS, sha256: str | None = None
    ) -> None:
        """Write a key, in place of what is there: a reader finds the old bytes or the new ones.

        The bytes are kept for good when this returns.

        Args:
            data: Bytes, or a file that is open for reading at its beginning.
            content_type: Media type, for whoever fetches the URL.
            sha256: Of the data, in hex, where it is known already.
        """

    def create(self, key: str, data: bytes) -> bool:
        """Write a key that is not there yet; of all who try at once exactly one gets ``True``.

        Where an answer was lost and the request sent again, a key that this very call made counts
        as another's; its content tells.
        """

    def get(self, key: str) -> bytes | None:
        """Return a key's bytes; ``None`` where it is not there."""

    def copy(self, key: str, sink: BinaryIO) -> bool:
        """Write a key's bytes to an open file; return ``False`` where it is not there."""

    def has(self, key: str, sha256: str) -> bool:
        """Say whether a key holds the content with this SHA-256 (in hex)."""

    def stat(self, key: str) -> Entry | None:
        """Return what a listing would say of a key; ``None`` where it is not there."""

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        """List the keys that begin with a prefix, sorted.

        Args:
            after: Only keys that come after this one, which need not be there.
        """

    def delete(self, key: str) -> None:
        """Remove a key, if it is there."""

    def url(self, key: str, *, expires_in: int | None = None) -> str:
        """Return an address to fetch a key from.

        Args:
            expires_in: Seconds that the address is valid; ``None`` for the public address.
        """

    def full_key(self, key: str) -> str:
        """Return a key as the bucket or folder has it, the shelf's prefix included."""

    def check(self) -> None:
        """Prove that keys can be written, by writing a small one."""
