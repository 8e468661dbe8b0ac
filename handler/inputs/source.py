"""What an event's image string is: an address to fetch from, or the bytes themselves."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from handler.contract.errors import InputError, InputTooLargeError
from handler.inputs.urls import HttpUrl, parse_http_url

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,31}):")  # RFC 3986, section 3.1
_URL_SAFE_ALPHABET = str.maketrans("-_", "+/")  # RFC 4648, section 5


@dataclass(frozen=True)
class HttpSource:
    """An image to get over HTTP."""

    url: HttpUrl


@dataclass(frozen=True)
class ObjectSource:
    """An image in an S3 bucket."""

    bucket: str
    key: str

    @property
    def shown(self) -> str:
        """The address for messages."""
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True)
class InlineSource:
    """An image whose encoded bytes came with the event."""

    data: bytes = field(repr=False)


Source = HttpSource | ObjectSource | InlineSource


def parse_source(name: str, text: str, *, max_bytes: int) -> Source:
    """Tell the kinds of source apart.

    Anything with a scheme is an address (http, https, s3) or a data URI; anything without one is
    base64. So a path on this machine's disk is never an address.

    Args:
        name: The image's name in the event, for messages.
        text: The event's string.
        max_bytes: Most bytes that inline data may decode to.

    Raises:
        InputError: It is none of the kinds. The text is not repeated: it may be an image.
        InputTooLargeError: Inline data is longer than ``max_bytes``.
    """
    text = text.strip()
    scheme_match = _SCHEME.match(text)
    scheme = scheme_match[1].lower() if scheme_match else None
    if scheme in ("http", "https"):
        return _parse_http(name, text)
    if scheme == "s3":
        return _parse_object(name, text)
    if scheme == "data":
        return InlineSource(_decode_data_uri(name, text, max_bytes))
    if scheme is not None:
        raise InputError(
            f"Image {name!r}: {scheme}: addresses are not supported. Give an http(s) URL, a data "
            "URI, base64, or s3://bucket/key.",
            image=name,
        )
    return InlineSource(_decode_base64(name, text, max_bytes))


def _parse_http(name: str, text: str) -> HttpSource:
    try:
        return HttpSource(parse_http_url(text))
    except ValueError as error:
        raise InputError(f"Image {name!r}: fix its URL: {error}.", image=name) from error


def _parse_object(name: str, text: str) -> ObjectSource:
    bucket, _, key = text[len("s3:") :].removeprefix("//").partition("/")
    if not text[len("s3:") :].startswith("//") or not bucket or not key:
        raise InputError(
            f"Image {name!r}: give the object as s3://bucket/key, with both parts.", image=name
        )
    return ObjectSource(bucket=bucket, key=key)


def _decode_data_uri(name: str, text: str, max_bytes: int) -> bytes:
    header, comma, body = text.partition(",")
    if not comma:
        raise InputError(
            f"Image {name!r}: the data URI has no comma; write data:image/png;base64,… with the "
            "encoded bytes after the comma.",
            image=name,
        )
    encoded = unquote_to_bytes(body) if "%" in body else body.encode("utf-8", "replace")
    if header.lower().endswith(";base64"):
        return _decode_base64(name, encoded.decode("ascii", "replace"), max_bytes)
    _check_size(name, len(encoded), max_bytes)
    return encoded


def _decode_base64(name: str, text: str, max_bytes: int) -> bytes:
    digits = "".join(text.split()).translate(_URL_SAFE_ALPHABET).rstrip("=")
    _check_size(name, len(digits) * 3 // 4, max_bytes)
    padding = "=" * (-len(digits) % 4)
    try:
        data = base64.b64decode(digits + padding, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(
            f"Image {name!r} is neither an address nor base64. Give an http(s) URL, a data URI, "
            "the image file's bytes in base64, or s3://bucket/key; files on the worker's own disk "
            "cannot be named.",
            image=name,
        ) from error
    if not data:
        raise InputError(f"Image {name!r} is empty. Give an address or data.", image=name)
    return data


def _check_size(name: str, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise InputTooLargeError(
            f"Image {name!r} has {size} bytes; at most {max_bytes} are allowed. Send a smaller "
            "file, or raise INPUT_MAX_BYTES.",
            image=name,
            max_bytes=max_bytes,
        )
