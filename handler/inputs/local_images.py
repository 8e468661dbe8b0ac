"""Photos on this machine's disk, put into the event as a remote caller would send them."""

from __future__ import annotations

import base64
from pathlib import Path

from handler.contract.errors import EventError


def inline_local_image(source: str, folder: Path = Path()) -> str:
    """Return an image's source as an event may hold it: a file becomes a data URI.

    Args:
        source: A file's path, or anything else that an event allows, which is
            returned unchanged.
        folder: What a relative path is relative to.

    Raises:
        EventError: The file cannot be read.
    """
    return inline_file(folder / source) if is_local_file(source, folder) else source


def is_local_file(source: str, folder: Path = Path()) -> bool:
    """Say whether a text names a file on this machine."""
    try:
        return (folder / source).is_file()
    except (OSError, ValueError):  # an image in base64 is longer than a file's name may be
        return False


def inline_file(path: Path) -> str:
    """Return a file as a data URI. The worker determines the kind of image from its content.

    Raises:
        EventError: The file cannot be read.
    """
    data = base64.b64encode(read_local_file(path)).decode()
    return f"data:application/octet-stream;base64,{data}"


def read_local_file(path: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        EventError: The file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise EventError(f"{path} cannot be read: {error.strerror}.") from error
