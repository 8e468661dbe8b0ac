"""Where assets are on the shelf."""

from __future__ import annotations

import hashlib
import re

ROOT = ".comfy-api"
"""Folder of all that the Comfy API keeps. No result's key begins with a dot."""
RECORDS = f"{ROOT}/assets/"
REFERENCES = f"{ROOT}/references/"
BLOBS = f"{ROOT}/blobs/"

_HASH = re.compile(r"blake3:([0-9a-f]{64})")
_ASSET_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def digest_of(hash_: str) -> str | None:
    """Return the hex digits of ``blake3:<hex>``; ``None`` for a text that is none."""
    match = _HASH.fullmatch(hash_)
    return None if match is None else match[1]


def is_asset_id(text: str) -> bool:
    """Say whether a text is a UUID as this service writes them."""
    return _ASSET_ID.fullmatch(text) is not None


def record_key(asset_id: str) -> str:
    """Return the key of an asset's record."""
    return f"{RECORDS}{asset_id}.json"


def reference_key(digest: str, asset_id: str) -> str:
    """Return the key that says that an asset needs the bytes with a hash."""
    return f"{references_of(digest)}{asset_id}"


def references_of(digest: str) -> str:
    """Return what the keys of all references to the bytes with a hash begin with."""
    return f"{REFERENCES}{digest}/"


def blob_key(digest: str) -> str:
    """Return the key of the bytes with a hash."""
    return f"{BLOBS}{digest[:2]}/{digest}"


def name_key(file_path: str) -> str:
    """Return the key that says which asset has a file name."""
    digest = hashlib.sha256(file_path.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{ROOT}/names/{digest}"
