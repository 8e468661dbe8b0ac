"""The step from a request to decoded JSON, within the limits on bytes and time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from comfyui_runtime.errors import CancelledError
from handler.contract.errors import (
    MalformedJsonError,
    MediaTypeError,
    RequestTooLargeError,
    SlowRequestError,
)

if TYPE_CHECKING:
    from starlette.requests import Request

JSON = "application/json"
# Function Compute and SageMaker hand events over under this name.
OCTETS = "application/octet-stream"
_IDLE_SECONDS = 30.0


async def read_json(request: Request, max_bytes: int) -> object:
    """Read a request's body.

    The media type has to be declared: those that a page of another origin may send without asking
    are not among them.

    Raises:
        MediaTypeError: The body is not declared as JSON, or is compressed.
        RequestTooLargeError: The body has more bytes than allowed; the rest is not read.
        SlowRequestError: Nothing came for half a minute.
        MalformedJsonError: The body is not JSON.
        CancelledError: The client went away.
    """
    _check_media_type(request)
    data = await _read(request, max_bytes)
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


async def _read(request: Request, max_bytes: int) -> bytes:
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    data = bytearray()
    chunks = request.stream()
    while True:
        try:
            async with asyncio.timeout(_IDLE_SECONDS):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return bytes(data)
        except TimeoutError as error:
            raise SlowRequestError(
                f"The body stopped coming for {_IDLE_SECONDS:g} s. Send it again."
            ) from error
        except ClientDisconnect as error:
            raise CancelledError("The client went away before its request was whole.") from error
        data += chunk
        if len(data) > max_bytes:
            raise _too_large(max_bytes)


def _too_large(max_bytes: int) -> RequestTooLargeError:
    return RequestTooLargeError(
        f"The body has more than {max_bytes} bytes. Send a "
        "smaller photo, or its URL, or raise REQUEST_MAX_BYTES.",
        limit=max_bytes,
    )
