"""A result's bytes: in memory, or of a large file on the disk."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

Content = bytes | Path


def content_size(content: Content) -> int:
    """Return the length in bytes."""
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def content_digest(content: Content) -> str:
    """Return the SHA-256, in hex."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_bytes(content: Content) -> bytes:
    """Return the bytes, for what has to be in memory whole."""
    return content if isinstance(content, bytes) else content.read_bytes()


@contextlib.contextmanager
def storable(content: Content) -> Iterator[bytes | BinaryIO]:
    """Yield what a shelf takes: the bytes, or the file open for reading."""
    if isinstance(content, bytes):
        yield content
    else:
        with content.open("rb") as file:
            yield file
