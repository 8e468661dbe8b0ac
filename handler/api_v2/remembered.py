"""Records that were read lately, so that they need not be read again."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")

# A record may change once it is old: outputs are deleted, jobs forgotten, by other workers.
_SECONDS = 60.0
_MOST_BYTES = 32 * 1024 * 1024


class Remembered(Generic[T]):
    """The last values by key, for a minute, up to a number of bytes. Safe from any thread."""

    def __init__(self, seconds: float = _SECONDS, most_bytes: int = _MOST_BYTES) -> None:
        self._seconds = seconds
        self._most_bytes = most_bytes
        self._values: OrderedDict[str, tuple[float, int, T]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: str) -> T | None:
        """Return a key's value; ``None`` where it is not remembered any more."""
        with self._lock:
            found = self._values.get(key)
            if found is None:
                return None
            if time.monotonic() - found[0] > self._seconds:
                self._pop(key)
                return None
            return found[2]

    def put(self, key: str, value: T, size: int) -> None:
        """Remember a value.

        Args:
            size: About how many bytes it holds.
        """
        with self._lock:
            self._pop(key)
            self._values[key] = (time.monotonic(), size, value)
            self._bytes += size
            while self._bytes > self._most_bytes:
                self._pop(next(iter(self._values)))

    def pop(self, key: str) -> None:
        """Forget a value."""
        with self._lock:
            self._pop(key)

    def _pop(self, key: str) -> None:
        found = self._values.pop(key, None)
        if found is not None:
            self._bytes -= found[1]
