"""Ends the process when a node holds it longer than any job may take.

A call into C that keeps the interpreter's lock stops every Python thread: deadlines,
cancellations and health checks with it. The timer here is faulthandler's, which runs
without the lock. It writes every thread's traceback to standard error and ends the process with
status 1; whatever started the process starts another.
"""

from __future__ import annotations

import contextlib
import faulthandler
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Time for the runtime's own way to give up a node, which needs the lock, to come first.
_MARGIN = 15.0


class Watchdog:
    """One timer for the process; only one run at a time is on the device.

    Args:
        enabled: Whether the process may be ended. It may not where others share it.
    """

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled

    @contextlib.contextmanager
    def watching(self, limit: float | None) -> Iterator[None]:
        """End the process unless the work inside ends in time.

        Args:
            limit: Seconds after which the runtime gives the work up; ``None`` for no limit.
        """
        if not self._enabled or limit is None:
            yield
            return
        faulthandler.dump_traceback_later(limit + _MARGIN, exit=True)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()

    def stand_down(self) -> None:
        """Leave the work alone: the process continues without it, or ends in its own way."""
        if self._enabled:
            faulthandler.cancel_dump_traceback_later()
