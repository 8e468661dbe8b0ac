"""A file that is sent as multipart/form-data: onto the disk as it comes, never into the memory."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from comfyui_runtime.errors import CancelledError
from handler.assets import Wish
from handler.contract.errors import (
    EventError,
    MediaTypeError,
    RequestTooLargeError,
    SlowRequestError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from fastapi import Request

_IDLE_SECONDS = 30.0
# The rest of the form, beside the file.
_ROOM_FOR_FIELDS = 64 * 1024
_MOST_FIELDS = 100
_MOST_OF_A_TEXT = 1000
SHORTEST_LIFE, LONGEST_LIFE = 60, 604_800


@dataclass(frozen=True)
class Upload:
    """A file that was sent, and what was said of it.

    Attributes:
        file: On this machine's disk, for as long as the request is answered.
    """

    file: BinaryIO
    wish: Wish
    expected_hash: str | None


@contextlib.asynccontextmanager
async def received(request: Request, max_bytes: int) -> AsyncIterator[Upload]:
    """Receive a request's file.

    Args:
        max_bytes: Most bytes that it may have.

    Raises:
        MediaTypeError: The body is no form.
        RequestTooLargeError: The file is too large; the rest is not read.
        SlowRequestError: Nothing came for half a minute.
        EventError: A field is missing, or is not what it may be.
        CancelledError: The client went away.
    """
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared != "multipart/form-data":
        raise MediaTypeError("Send the file as multipart/form-data.")
    stream = _limited(request, max_bytes + _ROOM_FOR_FIELDS, max_bytes)
    parser = MultiPartParser(
        request.headers, stream, max_files=1, max_fields=_MOST_FIELDS, max_part_size=64 * 1024
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise EventError(f"The form is not valid: {error.message}") from error
    try:
        yield _read(form, max_bytes)
    finally:
        await form.close()


async def _limited(request: Request, most: int, shown_limit: int) -> AsyncGenerator[bytes, None]:
    size = 0
    chunks = request.stream()
    while True:
        try:
            async with asyncio.timeout(_IDLE_SECONDS):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise SlowRequestError(
                f"The file stopped coming for {_IDLE_SECONDS:g} s. Send it again."
            ) from error
        except ClientDisconnect as error:
            raise CancelledError("The client went away before its file was whole.") from error
        size += len(chunk)
        if size > most:
            raise _too_large(shown_limit)
        yield chunk


def _read(form: FormData, max_bytes: int) -> Upload:
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise EventError("The form has no file: send its bytes as the part named file.")
    if (file.size or 0) > max_bytes:
        raise _too_large(max_bytes)
    file_path = _text(form, "file_path") or file.filename
    if not file_path:
        raise EventError("The form has no file_path: give the file's name.")
    wish = Wish(
        file_path,
        _media_type(_text(form, "content_type") or file.content_type),
        tuple(tag for tag in form.getlist("tags") if isinstance(tag, str)),
        _seconds(_text(form, "expires_in")),
    )
    return Upload(file.file, wish, _text(form, "expected_hash"))


def _media_type(text: str | None) -> str | None:
    """Return a media type if it can be sent in a header."""
    if text is None or not text.isascii() or not text.isprintable() or "/" not in text:
        return None
    return text


def _text(form: FormData, name: str) -> str | None:
    value = form.get(name)
    if not isinstance(value, str) or not value:
        return None
    if len(value) > _MOST_OF_A_TEXT or not value.isprintable():
        raise EventError(f"{name} has to be up to {_MOST_OF_A_TEXT} printable characters.")
    return value


def _seconds(text: str | None) -> int | None:
    if text is None:
        return None
    allowed = text.isascii() and text.isdigit()
    if not allowed or not SHORTEST_LIFE <= int(text) <= LONGEST_LIFE:
        raise EventError(f"expires_in is {SHORTEST_LIFE} to {LONGEST_LIFE} seconds.")
    return int(text)


def _too_large(max_bytes: int) -> RequestTooLargeError:
    return RequestTooLargeError(
        f"The file has more than {max_bytes} bytes. Send a smaller one, or raise ASSET_MAX_BYTES.",
        limit=max_bytes,
    )
