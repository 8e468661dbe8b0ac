"""How long one fetch may still take."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfyui_runtime.run.cancellation import Cancellation

WAIT_STEP = 0.25
"""Longest wait, in seconds, that does not look at the cancellation in between."""


class TimeLimit:
    """The time one fetch has from now on, cut short by the job's cancellation.

    Args:
        seconds: Time for the whole fetch.
        cancellation: The job's own reasons to stop.
    """

    def __init__(self, seconds: float, cancellation: Cancellation) -> None:
        self.seconds = seconds
        self._cancellation = cancellation
        self._ends_at = time.monotonic() + seconds

    @property
    def remaining(self) -> float:
        """Seconds left before the fetch or its job is out of time, never negative."""
        own = max(0.0, self._ends_at - time.monotonic())
        job = self._cancellation.remaining
        return own if job is None else min(own, job)

    def check(self) -> None:
        """Return while the fetch may continue.

        Raises:
            CancelledError: The job was cancelled.
            DeadlineError: The job's time is up.
            TimeoutError: The fetch's own time is up.
        """
        self._cancellation.check()
        if time.monotonic() >= self._ends_at:
            raise TimeoutError(f"The fetch took longer than {self.seconds:g} s.")

    def step(self, longest: float = WAIT_STEP) -> float:
        """Check, then return how many seconds (more than 0) to wait before checking again.

        Raises:
            CancelledError: The job was cancelled.
            DeadlineError: The job's time is up.
            TimeoutError: The fetch's own time is up.
        """
        self.check()
        # Time passes after the check, and sockets read 0 as "do not wait at all".
        return max(0.001, min(longest, self.remaining))

    def pause(self, seconds: float) -> None:
        """Sleep, waking up to check.

        Raises:
            CancelledError: The job was cancelled.
            DeadlineError: The job's time is up.
            TimeoutError: The fetch's own time is up.
        """
        wake_at = time.monotonic() + seconds
        while (left := wake_at - time.monotonic()) > 0:
            time.sleep(min(left, self.step()))
        self.check()
