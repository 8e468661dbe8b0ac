"""The one thread that runs graphs: first come, first served, never two at once."""

from __future__ import annotations

import contextvars
import logging
import queue
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

T = TypeVar("T")


class DeviceThread:
    """Runs calls one after another in its own daemon thread.

    Args:
        tidy: Called after a call has ended and its result was handed over, if ``tidy_every``
            seconds have passed since the last time: garbage collection delays no job.
        tidy_every: Seconds.
    """

    def __init__(self, tidy: Callable[[], None], tidy_every: float = 10.0) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._tidy = tidy
        self._tidy_every = tidy_every
        self._lock = threading.Lock()
        self._stopped = False
        self._busy_seconds = 0.0
        self._busy_since: float | None = None
        self._thread = threading.Thread(target=self._work, name="comfyui-device", daemon=True)
        self._thread.start()

    @property
    def busy_seconds(self) -> float:
        """Seconds spent in calls so far, including the current one."""
        with self._lock:
            since = self._busy_since
            return self._busy_seconds + (0.0 if since is None else time.monotonic() - since)

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Queue a call, to run in the caller's context.

        Returns:
            A future that can be cancelled until the call starts.

        Raises:
            RuntimeError: The thread was stopped: the call would never run.
        """
        future: Future[T] = Future()
        context = contextvars.copy_context()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = context.run(call)
            except BaseException as error:  # noqa: BLE001 - handed to the waiting thread whole
                future.set_exception(error)
            else:
                future.set_result(result)

        with self._lock:
            if self._stopped:
                raise RuntimeError("The device's thread was stopped; it takes no more calls.")
            self._calls.put(work)
        return future

    def stop(self, timeout: float) -> None:
        """End the thread when the queued calls are done; wait at most ``timeout`` seconds."""
        with self._lock:
            if not self._stopped:
                self._stopped = True
                self._calls.put(None)
        self._thread.join(timeout)

    def _work(self) -> None:
        tidied_at = time.monotonic()
        while (call := self._calls.get()) is not None:
            self._set_busy(busy=True)
            call()
            self._set_busy(busy=False)
            del call
            if time.monotonic() - tidied_at > self._tidy_every:
                try:
                    self._tidy()
                except BaseException:
                    log.exception("memory could not be tidied")
                tidied_at = time.monotonic()

    def _set_busy(self, *, busy: bool) -> None:
        now = time.monotonic()
        with self._lock:
            if self._busy_since is not None:
                self._busy_seconds += now - self._busy_since
            self._busy_since = now if busy else None
