"""A file on its way: what has arrived, and what it is a part of, so that a fetch can go on."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from handler.models.errors import ModelFetchError, TooLargeModelError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

log = logging.getLogger(__name__)

PART_SUFFIX = ".part"
_STATE_SUFFIX = ".from"
_LOG_EVERY = 10.0
# Left free: a volume that is filled to the last byte fails whoever writes next.
_SPARE_BYTES = 64 * 1024**2


@dataclass(frozen=True)
class Version:
    """Which file a host serves.

    Attributes:
        address: As the list or the event gives it, without a query.
        tag: The host's strong ETag: bytes of the same tag fit together; ``None`` without one.
        size: Bytes of the whole file; ``None`` where the host does not say.
    """

    address: str
    tag: str | None
    size: int | None


class PartFile:
    """A file beside the place of the whole one, and a note of what it is a part of.

    Args:
        target: Where the whole file belongs.
        max_bytes: Most bytes that it may have; ``None`` for as many as there is room for.
    """

    def __init__(self, target: Path, max_bytes: int | None = None) -> None:
        self.path = target.with_name(target.name + PART_SUFFIX)
        self._state = target.with_name(target.name + PART_SUFFIX + _STATE_SUFFIX)
        self._name = target.name
        self._max_bytes = max_bytes

    @property
    def size(self) -> int:
        """Bytes that have arrived."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def known(self, address: str) -> Version | None:
        """Return what the bytes that have arrived are part of, if they can be gone on from."""
        try:
            version = Version(**json.loads(self._state.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        is_same = version.address == address and version.tag is not None and self.size > 0
        return version if is_same else None

    def write(self, version: Version, start: int, chunks: Iterable[bytes]) -> None:
        """Append what arrives, from a byte on.

        Raises:
            ModelFetchError: It is larger than allowed, there is no room, or it ended early.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._check_room(version, start)
        self._state.write_text(json.dumps(version.__dict__), "utf-8")
        arrived = start
        with self.path.open("r+b" if start else "wb") as file:
            file.truncate(start)
            file.seek(start)
            progress = _Progress(self._name, start, version.size)
            for chunk in chunks:
                file.write(chunk)
                arrived += len(chunk)
                if self._max_bytes is not None and arrived > self._max_bytes:
                    raise self._too_large()
                progress.at(arrived)
        if version.size is not None and arrived != version.size:
            raise ModelFetchError(
                f"{arrived:,} of its {version.size:,} bytes arrived", passing=True
            )

    def digest(self) -> str:
        """Return the SHA-256 of what has arrived, in hex."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def keep_as(self, target: Path) -> None:
        """Give the file its name, once its bytes are on the disk."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        self.path.replace(target)
        self._state.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove what has arrived."""
        self.path.unlink(missing_ok=True)
        self._state.unlink(missing_ok=True)

    def _check_room(self, version: Version, start: int) -> None:
        if version.size is None:
            return
        if self._max_bytes is not None and version.size > self._max_bytes:
            raise self._too_large()
        free = shutil.disk_usage(self.path.parent).free + (self.size - start)
        if version.size - start + _SPARE_BYTES > free:
            raise ModelFetchError(
                f"it has {version.size:,} bytes, and {self.path.parent} has {free:,} left: use a "
                "larger volume, or remove models from it"
            )

    def _too_large(self) -> TooLargeModelError:
        return TooLargeModelError(f"it has more than {self._max_bytes:,} bytes")


class _Progress:
    """Tells the log, once in a while, how far a file has come."""

    def __init__(self, name: str, start: int, size: int | None) -> None:
        self._name = name
        self._size = size
        self._start = start
        self._started = self._told = time.monotonic()

    def at(self, arrived: int) -> None:
        now = time.monotonic()
        if now - self._told < _LOG_EVERY:
            return
        self._told = now
        rate = (arrived - self._start) / (now - self._started)
        more = {} if self._size is None else {"percent": round(100 * arrived / self._size, 1)}
        done = {"bytes": arrived, "of": self._size, "megabytes_per_second": round(rate / 1e6, 1)}
        log.info("model is being fetched", extra={"model": self._name, **done, **more})
