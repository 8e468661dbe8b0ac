"""Telling a model file from what hosts send in its place: a login page, or half of a file."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SAFETENSORS_HEADER_LIMIT = 100_000_000  # bytes, as in the format's own readers


class NotAModelError(Exception):
    """The file's content cannot be what its name says; the message says how that shows."""


def check_model_file(path: Path, name: str) -> None:
    """Check what can be told of a model file without loading it.

    A ``.safetensors`` file states where its last tensor ends, so a truncated one is found out. The
    layout is that of https://github.com/huggingface/safetensors, section "Format". It is read
    here, not by that library, since ``--fetch-only`` runs where no package is installed.

    Args:
        path: The file.
        name: The name it will have; its suffix says what to expect.

    Raises:
        NotAModelError: The file is empty, a web page, or a safetensors file that is cut short.
    """
    with path.open("rb") as content:
        start = content.read(512)
    if not start:
        raise NotAModelError("it is empty")
    if start.lstrip()[:1] == b"<":
        raise NotAModelError("it is a web page, as hosts send to who is not logged in")
    if name.endswith(".safetensors"):
        _check_safetensors(path)


def _check_safetensors(path: Path) -> None:
    size = path.stat().st_size
    try:
        with path.open("rb") as content:
            (header_size,) = struct.unpack("<Q", content.read(8))
            if header_size > min(size - 8, SAFETENSORS_HEADER_LIMIT):
                raise NotAModelError("its safetensors header is cut short or no such header")
            header = json.loads(content.read(header_size))
            header.pop("__metadata__", None)
            end = max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
    except (struct.error, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise NotAModelError("it has no safetensors header") from error
    expected = 8 + header_size + end
    if size != expected:
        raise NotAModelError(f"it has {size:,} bytes where its header says {expected:,}")
