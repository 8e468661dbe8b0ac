"""Assets on a shelf: any number of records over the same bytes, which are kept once.

The bytes' key is their BLAKE3. Each record leaves a reference beside it, so that who deletes the
last one knows that the bytes can go. All workers on one shelf see the same assets.
"""

from __future__ import annotations

import logging
import mimetypes
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from blake3 import blake3
from pydantic import BaseModel, ConfigDict, ValidationError

from handler.assets.keys import (
    blob_key,
    digest_of,
    is_asset_id,
    name_key,
    record_key,
    reference_key,
    references_of,
)
from handler.contract.errors import (
    BlobNotFoundError,
    HashMismatchError,
    NotFoundError,
)

if TYPE_CHECKING:
    from handler.shelf import Shelf

_CHUNK_BYTES = 1024 * 1024

log = logging.getLogger(__name__)


class Asset(BaseModel):
    """A caller's file, as its record has it.

    Attributes:
        hash: ``blake3:<hex>``.
        size_bytes: Length in bytes.
        file_path: The name that graphs may call it by.
        created_at: Seconds since the epoch.
        expires_at: Seconds since the epoch; from then on there is no such asset.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    hash: str
    size_bytes: int
    content_type: str
    file_path: str | None
    tags: tuple[str, ...] = ()
    created_at: float
    expires_at: float

    @property
    def key(self) -> str:
        """The key of its bytes on the shelf."""
        return blob_key(self.hash.removeprefix("blake3:"))


@dataclass(frozen=True)
class Wish:
    """What a caller says of a file.

    Attributes:
        file_path: The name that graphs may call it by.
        expires_in: Seconds that it is kept; ``None`` for as long as the store keeps others.
    """

    file_path: str | None
    content_type: str | None = None
    tags: tuple[str, ...] = ()
    expires_in: float | None = None


class AssetStore:
    """The assets on a shelf. Safe from any thread.

    Args:
        kept_seconds: How long an asset is kept whose caller asks for nothing else.
    """

    def __init__(self, shelf: Shelf, kept_seconds: float = 604_800.0) -> None:
        self._shelf = shelf
        self._kept_seconds = kept_seconds

    def add(
        self, file: BinaryIO, wish: Wish, expected_hash: str | None = None
    ) -> tuple[Asset, bool]:
        """Keep a file.

        Args:
            file: Open for reading.
            expected_hash: What the sender says that its hash is.

        Returns:
            The asset, and whether its bytes are new.

        Raises:
            HashMismatchError: The bytes have another hash than expected.
            StorageError: They could not be kept.
        """
        hash_, size = file_hash(file)
        if expected_hash is not None and expected_hash != hash_:
            raise HashMismatchError(
                "The bytes that arrived do not have the hash that was declared. Send them again.",
                expected=expected_hash,
                received=hash_,
            )
        asset = self._new(hash_, size, wish)
        self._refer(asset)
        found = self._shelf.stat(asset.key)
        is_new = found is None or found.size != size
        if is_new:
            file.seek(0)
            self._shelf.put(asset.key, file, content_type=asset.content_type)
        self._record(asset)
        return asset, is_new

    def add_known(self, hash_: str, wish: Wish) -> tuple[Asset, bool]:
        """Make an asset of bytes that are kept already.

        Returns:
            The asset, and whether it is new: one with the same bytes and name is used again.

        Raises:
            BlobNotFoundError: No bytes with this hash are kept.
        """
        same = None if wish.file_path is None else self._by_name(wish.file_path)
        if same is not None and same.hash == hash_:
            expires_at = max(same.expires_at, self._expiry(wish))
            same = same.model_copy(update={"expires_at": expires_at})
            self._record(same)
            return same, False
        digest = digest_of(hash_)
        if digest is None or not self.has(hash_):
            raise _no_blob()
        asset = self._new(hash_, 0, wish)
        # Before the bytes are looked for: who deletes their last asset meanwhile sees this one.
        self._refer(asset)
        found = self._shelf.stat(asset.key)
        if found is None:
            self._shelf.delete(reference_key(digest, asset.id))
            raise _no_blob()
        asset = asset.model_copy(update={"size_bytes": found.size})
        self._record(asset)
        return asset, True

    def has(self, hash_: str) -> bool:
        """Say whether bytes with a hash, ``blake3:<hex>``, are kept."""
        digest = digest_of(hash_)
        return digest is not None and self._shelf.stat(blob_key(digest)) is not None

    def get(self, asset_id: str) -> Asset:
        """Return an asset.

        Raises:
            NotFoundError: There is none with this id, or it has expired.
        """
        asset = self.find(asset_id)
        if asset is None:
            raise NotFoundError(
                "There is no asset with this id; it may have expired (ASSETS_KEPT_SECONDS)."
            )
        return asset

    def find(self, asset_id: str) -> Asset | None:
        """Return an asset; ``None`` where there is none with this id."""
        if not is_asset_id(asset_id):
            return None
        data = self._shelf.get(record_key(asset_id))
        if data is None:
            return None
        try:
            asset = Asset.model_validate_json(data)
        except ValidationError:
            log.warning("record of an asset cannot be read", extra={"asset": asset_id})
            return None
        return asset if asset.expires_at > time.time() else None

    def find_by_name(self, file_path: str) -> Asset | None:
        """Return the asset that was last uploaded under a name; ``None`` where there is none."""
        return self._by_name(file_path)

    def delete(self, asset_id: str) -> None:
        """Delete an asset; its bytes, too, if no other has them.

        Raises:
            NotFoundError: There is none with this id.
        """
        self.remove(self.get(asset_id))

    def remove(self, asset: Asset) -> None:
        """Delete an asset, whether it has expired or not."""
        self._shelf.delete(record_key(asset.id))
        digest = asset.hash.removeprefix("blake3:")
        self._shelf.delete(reference_key(digest, asset.id))
        if asset.file_path is not None:
            named = self._shelf.get(name_key(asset.file_path))
            if named == asset.id.encode():
                self._shelf.delete(name_key(asset.file_path))
        if next(iter(self._shelf.list(references_of(digest))), None) is None:
            self._shelf.delete(blob_key(digest))

    def copy(self, asset: Asset, sink: BinaryIO) -> bool:
        """Write an asset's bytes to a file; return ``False`` where they are gone."""
        return self._shelf.copy(asset.key, sink)

    def _by_name(self, file_path: str) -> Asset | None:
        named = self._shelf.get(name_key(file_path))
        return None if named is None else self.find(named.decode("ascii", "replace"))

    def _expiry(self, wish: Wish) -> float:
        kept = self._kept_seconds if wish.expires_in is None else wish.expires_in
        return time.time() + kept

    def _new(self, hash_: str, size: int, wish: Wish) -> Asset:
        guessed = mimetypes.guess_type(wish.file_path or "")[0]
        return Asset(
            id=str(uuid.uuid4()),
            hash=hash_,
            size_bytes=size,
            content_type=wish.content_type or guessed or "application/octet-stream",
            file_path=wish.file_path,
            tags=wish.tags,
            created_at=time.time(),
            expires_at=self._expiry(wish),
        )

    def _refer(self, asset: Asset) -> None:
        self._shelf.put(reference_key(asset.hash.removeprefix("blake3:"), asset.id), b"")

    def _record(self, asset: Asset) -> None:
        self._shelf.put(record_key(asset.id), asset.model_dump_json().encode())
        if asset.file_path is not None:
            self._shelf.put(name_key(asset.file_path), asset.id.encode())


def file_hash(file: BinaryIO) -> tuple[str, int]:
    """Return a file's hash, ``blake3:<hex>``, and its length in bytes."""
    file.seek(0)
    hasher, size = blake3(), 0
    while chunk := file.read(_CHUNK_BYTES):
        hasher.update(chunk)
        size += len(chunk)
    return f"blake3:{hasher.hexdigest()}", size


def _no_blob() -> BlobNotFoundError:
    return BlobNotFoundError("No bytes with this hash are kept here. Upload the file.")
