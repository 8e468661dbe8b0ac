"""Removes assets that have expired, and the oldest where all of them have too many bytes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pydantic import ValidationError

from handler.assets.keys import BLOBS, RECORDS, references_of
from handler.assets.store import Asset

if TYPE_CHECKING:
    from handler.assets.store import AssetStore
    from handler.shelf import Shelf

# An upload under way may have its bytes here before its reference; no upload takes as long.
_GRACE_SECONDS = 3600.0


def sweep_assets(shelf: Shelf, store: AssetStore, max_bytes: int) -> int:
    """Remove what is not to be kept any longer. Any number of workers may do so at once.

    Args:
        max_bytes: Most bytes that assets may have in all; beyond it the oldest go.

    Returns:
        How many assets were removed.

    Raises:
        StorageError: The shelf refuses.
    """
    assets = sorted(_assets(shelf), key=lambda asset: asset.created_at)
    now = time.time()
    expired = [asset for asset in assets if asset.expires_at <= now]
    for asset in expired:
        store.remove(asset)
    _remove_unreferenced(shelf, now)
    left = [asset for asset in assets if asset.expires_at > now]
    too_many = _oldest_beyond(left, max_bytes)
    for asset in too_many:
        store.remove(asset)
    return len(expired) + len(too_many)


def _assets(shelf: Shelf) -> list[Asset]:
    found = []
    for entry in shelf.list(RECORDS):
        data = shelf.get(entry.key)
        if data is None:
            continue
        try:
            found.append(Asset.model_validate_json(data))
        except ValidationError:
            shelf.delete(entry.key)
    return found


def _oldest_beyond(assets: list[Asset], max_bytes: int) -> list[Asset]:
    """Return the assets to remove, oldest first, so that the others have at most so many bytes."""
    kept: set[str] = set()
    total = 0
    removed: list[Asset] = []
    for asset in reversed(assets):
        size = 0 if asset.hash in kept else asset.size_bytes
        if total + size > max_bytes or removed:
            removed.append(asset)
            continue
        total += size
        kept.add(asset.hash)
    return removed[::-1]


def _remove_unreferenced(shelf: Shelf, now: float) -> None:
    for blob in shelf.list(BLOBS):
        digest = blob.key.rpartition("/")[2]
        old = now - blob.written_at > _GRACE_SECONDS
        if old and next(iter(shelf.list(references_of(digest))), None) is None:
            shelf.delete(blob.key)
