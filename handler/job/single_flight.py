"""Lets one of several identical requests do the work while the others wait for its result."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comfyui_runtime.run.cancellation import Cancellation


class SingleFlight:
    """Turns by key: at most one thread is inside a key's. Safe from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside: set[str] = set()

    @contextlib.contextmanager
    def turn(self, key: str, cancellation: Cancellation) -> Iterator[None]:
        """Wait until nobody else is inside the key's turn, and take it.

        The wait ends, since each job ends within its own time limit; it does not count for this
        job's.

        Raises:
            ServiceError: The job was cancelled meanwhile; see
                :meth:`comfyui_runtime.run.cancellation.Cancellation.check`.
        """
        take_back = cancellation.on_cancel(self._wake)
        try:
            with self._changed, cancellation.paused():
                self._changed.wait_for(lambda: cancellation.cancelled or key not in self._inside)
                if cancellation.cancelled:
                    cancellation.check()
                self._inside.add(key)
        finally:
            take_back()
        try:
            yield
        finally:
            with self._changed:
                self._inside.discard(key)
                self._changed.notify_all()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
