"""The step from a request to decoded JSON, within the limits on bytes and time."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Protocol

from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from comfyui_runtime.errors import CancelledError
from handler.contract.errors import (
    MalformedJsonError,
    MediaTypeError,
    OverloadedError,
    RequestTooLargeError,
    SlowRequestError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.requests import Request

    from handler.settings import Settings

JSON = "application/json"
# Function Compute and SageMaker hand events over under this name.
OCTETS = "application/octet-stream"
_IDLE_SECONDS = 30.0
_MOST_SECONDS = 300.0
_SMALL_BYTES = 64 * 1024


class BodyBudget:
    """Bytes that bodies may take in all. Used on the event loop.

    Args:
        max_bytes: Most bytes held at once.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.held = 0

    @contextlib.contextmanager
    def holder(self) -> Iterator[Callable[[int], None]]:
        """Give back on the way out what was taken inside, by calling what this yields.

        Raises:
            OverloadedError: By the call: more is held already than may be.
        """
        own = 0

        def take(size: int) -> None:
            nonlocal own
            if self.held + size > self._max_bytes:
                raise OverloadedError(
                    f"The worker holds {self.held} bytes of requests, about the most it takes. "
                    "Send the job again in a while, send photos as URLs, or raise "
                    "REQUESTS_MAX_BYTES.",
                    limit=self._max_bytes,
                )
            own += size
            self.held += size

        try:
            yield take
        finally:
            self.held -= own


class Door(Protocol):
    """What is asked before a body is read, and while it is."""

    settings: Settings
    bodies: BodyBudget

    def check_room(self) -> None:
        """Return if a further job might be taken; raise what refuses it."""
        ...


async def read_json(request: Request, door: Door) -> object:
    """Read a request's body.

    What the queue has no room for is refused before it is read, unless it is small: that may be a
    job that is under way already.

    The media type has to be declared: those that a page of another origin may send without asking
    are not among them.

    Raises:
        MediaTypeError: The body is not declared as JSON, or is compressed.
        RequestTooLargeError: The body has more bytes than allowed; the rest is not read.
        OverloadedError: The queue is full, or the bodies being read are too large in all.
        ShuttingDownError: The worker is stopping.
        SlowRequestError: Nothing came for half a minute, or not all of it within five minutes.
        MalformedJsonError: The body is not JSON.
        CancelledError: The client went away.
    """
    _check_media_type(request)
    max_bytes = door.settings.request_max_bytes
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    if not declared.isdigit() or int(declared) > _SMALL_BYTES:
        door.check_room()
    with door.bodies.holder() as take:
        data = await _read(request, max_bytes, take)
    try:
        return from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise MalformedJsonError(f"The body is not JSON in UTF-8: {error}.") from error


def _check_media_type(request: Request) -> None:
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared not in {JSON, OCTETS} and not declared.endswith("+json"):
        raise MediaTypeError(
            f"Send the event as JSON with the header Content-Type: {JSON}.", allowed=[JSON, OCTETS]
        )
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise MediaTypeError("Send the body as it is, without a Content-Encoding.")


async def _read(request: Request, max_bytes: int, take: Callable[[int], None]) -> bytes:
    data = bytearray()
    chunks = request.stream()
    ends_at = asyncio.get_running_loop().time() + _MOST_SECONDS
    while True:
        seconds_left = ends_at - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(min(_IDLE_SECONDS, seconds_left)):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return bytes(data)
        except TimeoutError as error:
            raise SlowRequestError(
                f"The body stopped coming for {_IDLE_SECONDS:g} s, or took longer than "
                f"{_MOST_SECONDS:g} s. Send it again."
            ) from error
        except ClientDisconnect as error:
            raise CancelledError("The client went away before its request was whole.") from error
        take(len(chunk))
        data += chunk
        if len(data) > max_bytes:
            raise _too_large(max_bytes)


def _too_large(max_bytes: int) -> RequestTooLargeError:
    return RequestTooLargeError(
        f"The body has more than {max_bytes} bytes. Send a "
        "smaller photo, or its URL, or raise REQUEST_MAX_BYTES.",
        limit=max_bytes,
    )
