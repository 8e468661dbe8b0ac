"""What one connection may take: bytes and seconds for a request's head, and a descriptor.

httptools, which parses requests, has no limit of its own: a header that never ends is copied anew
with each piece that arrives, until the event loop does nothing else.
"""

from __future__ import annotations

import contextlib
import logging
import resource
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from handler.contract.errors import RequestHeadTooLargeError, SlowRequestError
from handler.http.refusals import refuse

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from comfyui_runtime.errors import ServiceError

log = logging.getLogger(__name__)

# More would only make room for more silent connections.
_ENOUGH_FILES = 65_536
# Descriptors for all but connections: models, pictures, storage, the listening socket.
_OTHER_FILES = 256
_FEWEST_CONNECTIONS = 32
_WARN_EVERY = 60.0


@dataclass(frozen=True)
class ConnectionLimits:
    """What connections may take.

    Attributes:
        head_bytes: Bytes of a request's head, of a chunk's, or of the trailers.
        head_seconds: Seconds until a request's head is whole, from the connection's start or the
            head's first byte; and for the rest of a body whose answer has been sent.
        write_seconds: Seconds in which a client that gets an answer must take some of it.
        connections: Most open at once. Over it, the one that has been idle longest is closed.
    """

    head_bytes: int = 64 * 1024
    head_seconds: float = 20.0
    write_seconds: float = 60.0
    connections: int = 1024 - _OTHER_FILES


def raise_file_limit() -> int:
    """Let this process open as many files as the system allows it; return how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH_FILES if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # Containers may forbid the call itself.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _ENOUGH_FILES if soft == resource.RLIM_INFINITY else soft


def limits_within(files: int) -> ConnectionLimits:
    """Return the limits for a process that may open some number of files."""
    return ConnectionLimits(connections=max(files - _OTHER_FILES, _FEWEST_CONNECTIONS))


class LimitedConnection(HttpToolsProtocol):
    """Uvicorn's connection, within limits. Subclassed once per server, for its limits."""

    limits: ClassVar[ConnectionLimits] = ConnectionLimits()
    warned_at: ClassVar[float] = -_WARN_EVERY

    _timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None
    _reading_body = False
    # Bytes since a request, a head, a piece of a body was whole: what the parser may be holding.
    _unfinished_bytes = 0
    idle_since = 0.0

    @property
    def idle(self) -> bool:
        """Whether no request is under way."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a new connection, in place of the idlest one if there are too many."""
        super().connection_made(transport)
        self.idle_since = time.monotonic()
        self._start_timer()
        if len(self.connections) > self.limits.connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_timer()
        self._stop_write_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless it adds up to more than a head may have."""
        self._unfinished_bytes += len(data)
        if self._unfinished_bytes > self.limits.head_bytes + len(data):
            self._refuse(
                RequestHeadTooLargeError(
                    f"The request's head has more than {self.limits.head_bytes} bytes. Send fewer "
                    "or shorter headers, or a shorter address.",
                    limit=self.limits.head_bytes,
                )
            )
            return
        if not self._reading_body and self._timer is None:
            self._start_timer()
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Start the time for a head."""
        super().on_message_begin()
        if self._timer is None:
            self._start_timer()

    def on_headers_complete(self) -> None:
        """End the time for a head."""
        self._stop_timer()
        self._unfinished_bytes = 0
        self._reading_body = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        self._unfinished_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take the end of a request."""
        self._unfinished_bytes = 0
        self._reading_body = False
        self._stop_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Be idle, or give a body that nobody reads any more a time to end."""
        self.idle_since = time.monotonic()
        super().on_response_complete()
        if self._reading_body and self._timer is None:
            self._start_timer()

    def pause_writing(self) -> None:
        """Give a client that does not read what it asked for a time to go on."""
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(
                self.limits.write_seconds, self.transport.abort
            )

    def resume_writing(self) -> None:
        """Go on writing."""
        self._stop_write_timer()
        super().resume_writing()

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(self.limits.head_seconds, self._on_time_up)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_time_up(self) -> None:
        self._timer = None
        self._refuse(
            SlowRequestError(
                f"The request was not whole within {self.limits.head_seconds:g} s. Send it again."
            )
        )

    def _refuse(self, error: ServiceError) -> None:
        """Answer, unless an answer is under way, and close."""
        if self.transport.is_closing():
            return
        if self.idle and self._unfinished_bytes and not self._reading_body:
            response = refuse(error)
            lines = [f"HTTP/1.1 {response.status_code} Refused".encode(), b"connection: close"]
            lines += [name + b": " + value for name, value in response.raw_headers]
            self.transport.write(b"\r\n".join([*lines, b"", bytes(response.body)]))
        self.transport.close()

    def _make_room(self) -> None:
        now = time.monotonic()
        if now - type(self).warned_at >= _WARN_EVERY:
            type(self).warned_at = now
            log.warning(
                "too many connections, the idlest is closed",
                extra={"connections": len(self.connections), "limit": self.limits.connections},
            )
        idlest = min(_idle(self.connections), key=lambda other: other.idle_since, default=self)
        idlest.connections.discard(idlest)
        idlest.transport.abort()


def _idle(connections: Iterable[object]) -> Iterable[LimitedConnection]:
    return (
        other
        for other in connections
        if isinstance(other, LimitedConnection) and other.idle and not other.transport.is_closing()
    )
