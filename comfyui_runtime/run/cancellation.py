"""A job's cancellation: requested in one thread, obeyed in another."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

from comfyui_runtime.errors import CancelledError, DeadlineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from comfyui_runtime.errors import ServiceError


class Cancellation:
    """Says whether a job is to stop: because it was cancelled, or because its time is up.

    Args:
        timeout: Seconds until the job's time is up, from now on and not counting those in which it
            is paused; ``None`` for no limit.
    """

    def __init__(self, timeout: float | None = None) -> None:
        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []
        self._reason: ServiceError | None = None
        self._timeout = timeout
        self._ends_at = None if timeout is None else time.monotonic() + timeout
        self._paused_at: float | None = None

    def cancel(self, reason: ServiceError | None = None) -> None:
        """Ask the job to stop. Safe from any thread, any number of times; the first one counts.

        Args:
            reason: The error that the job is to end with; a ``CancelledError`` without one.
        """
        with self._lock:
            if self._cancelled.is_set():
                return
            self._reason = reason or CancelledError("The job was cancelled.")
            self._cancelled.set()
            callbacks = list(self._callbacks)
        for callback in callbacks:
            callback()

    @property
    def cancelled(self) -> bool:
        """Whether :meth:`cancel` was called."""
        return self._cancelled.is_set()

    @property
    def remaining(self) -> float | None:
        """Seconds until the deadline, never negative; ``None`` without one."""
        with self._lock:
            if self._ends_at is None:
                return None
            now = time.monotonic() if self._paused_at is None else self._paused_at
            return max(0.0, self._ends_at - now)

    @property
    def is_paused(self) -> bool:
        """Whether the job's time stands still."""
        return self._paused_at is not None

    def pause(self) -> None:
        """Let the job's time stand still: nobody works on the job. Safe from any thread."""
        with self._lock:
            if self._paused_at is None:
                self._paused_at = time.monotonic()

    def resume(self) -> None:
        """Let the job's time run on. Safe from any thread, also where it was not paused."""
        with self._lock:
            if self._paused_at is not None and self._ends_at is not None:
                self._ends_at += time.monotonic() - self._paused_at
            self._paused_at = None

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Let the job's time stand still inside."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    @property
    def requested(self) -> bool:
        """Whether the job is to stop, for either reason."""
        return self.cancelled or self.remaining == 0.0

    def check(self) -> None:
        """Return while the job may continue.

        Raises:
            ServiceError: The job was cancelled: a ``CancelledError``, or the reason given.
            DeadlineError: The job's time is up.
        """
        if self._reason is not None:
            raise self._reason
        if self.remaining == 0.0:
            raise DeadlineError(
                f"The job did not end within {self._timeout:g} s. Ask for less work "
                "(fewer steps, fewer pixels) or raise JOB_TIMEOUT_SECONDS.",
                timeout_seconds=self._timeout,
            )

    def on_cancel(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call ``callback`` once, when the job is cancelled; at once if it already was.

        Returns:
            A function that takes the callback back.
        """
        with self._lock:
            self._callbacks.append(callback)
            already = self._cancelled.is_set()
        if already:
            callback()

        def remove() -> None:
            with self._lock:
                if callback in self._callbacks:
                    self._callbacks.remove(callback)

        return remove
