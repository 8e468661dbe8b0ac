"""Seconds by phase of one job."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Clock:
    """Started when made.

    Args:
        earlier: Seconds of the job before that.
    """

    def __init__(self, earlier: float = 0.0) -> None:
        self._started = time.perf_counter() - earlier
        self._phases: dict[str, float] = {}

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - started)

    def add(self, name: str, seconds: float) -> None:
        """Add seconds that were measured elsewhere."""
        self._phases[name] = self._phases.get(name, 0.0) + seconds

    def seconds(self, name: str) -> float:
        """Return a phase's seconds to the tenth of a millisecond; 0 for one that was not."""
        return round(self._phases.get(name, 0.0), 4)

    def total(self) -> float:
        """Return the seconds since the start."""
        return round(time.perf_counter() - self._started, 4)
