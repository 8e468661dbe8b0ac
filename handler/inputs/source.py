"""What an event's image or file string is: an address to fetch from, or the bytes themselves.

A URL is parsed once: what is shown, checked, resolved and requested is the same.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import string
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, unquote_to_bytes, urljoin, urlsplit

import idna

from handler.contract.errors import InputError, InputTooLargeError

if TYPE_CHECKING:
    from handler.inputs.wanted import Wanted

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,31}):")  # RFC 3986, section 3.1
_URL_SAFE_ALPHABET = str.maketrans("-_", "+/")  # RFC 4648, section 5
_DEFAULT_PORTS: dict[str, int] = {"http": 80, "https": 443}
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")


@dataclass(frozen=True)
class HttpUrl:
    """An http or https URL without user information and without fragment.

    Attributes:
        scheme: "http" or "https".
        host: Lower-case ASCII name, or an IP address (IPv6 without brackets).
        port: The port to connect to, also where the URL names none.
        target: Path and query, as sent.
    """

    scheme: Literal["http", "https"]
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """Host and port as the Host header wants them; the scheme's own port is left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def shown(self) -> str:
        """The URL for messages: without its query, which may carry a signature."""
        return f"{self.scheme}://{self.authority}{self.target.partition('?')[0]}"

    def join(self, location: str) -> HttpUrl:
        """Resolve a Location header against this URL.

        Raises:
            ValueError: The result is not an acceptable URL; the text says why.
        """
        return parse_http_url(urljoin(f"{self.scheme}://{self.authority}{self.target}", location))


@dataclass(frozen=True)
class HttpSource:
    """An input to get over HTTP."""

    url: HttpUrl


@dataclass(frozen=True)
class ObjectSource:
    """An input in an S3 bucket."""

    bucket: str
    key: str

    @property
    def shown(self) -> str:
        """The address for messages."""
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True)
class InlineSource:
    """An input whose bytes came with the event."""

    data: bytes = field(repr=False)


@dataclass(frozen=True)
class AssetSource:
    """An input that was uploaded before; see :mod:`handler.assets`."""

    asset_id: str


Source = HttpSource | ObjectSource | InlineSource | AssetSource


def parse_source(wanted: Wanted, text: str) -> Source:
    """Tell the kinds of source apart.

    Anything with a scheme is an address (http, https, s3, asset) or a data URI; anything without
    one is base64. So a path on this machine's disk is never an address.

    Args:
        wanted: What is fetched.
        text: The event's string.

    Raises:
        InputError: It is none of the kinds. The text is not repeated: it may be an image.
        InputTooLargeError: Inline data is longer than ``wanted.max_bytes``.
    """
    text = text.strip()
    scheme_match = _SCHEME.match(text)
    scheme = scheme_match[1].lower() if scheme_match else None
    if scheme in ("http", "https"):
        return _parse_http(wanted, text)
    if scheme == "s3":
        return _parse_object(wanted, text)
    if scheme == "asset":
        return AssetSource(text[len("asset:") :])
    if scheme == "data":
        return InlineSource(_decode_data_uri(wanted, text))
    if scheme is not None:
        raise InputError(
            f"{wanted}: {scheme}: addresses are not supported. Give an http(s) URL, a data "
            "URI, base64, or s3://bucket/key.",
            **wanted.details,
        )
    return InlineSource(_decode_base64(wanted, text))


def _parse_http(wanted: Wanted, text: str) -> HttpSource:
    try:
        return HttpSource(parse_http_url(text))
    except ValueError as error:
        raise InputError(f"{wanted}: fix its URL: {error}.", **wanted.details) from error


def _parse_object(wanted: Wanted, text: str) -> ObjectSource:
    bucket, _, key = text[len("s3:") :].removeprefix("//").partition("/")
    if not text[len("s3:") :].startswith("//") or not bucket or not key:
        raise InputError(
            f"{wanted}: give the object as s3://bucket/key, with both parts.", **wanted.details
        )
    return ObjectSource(bucket=bucket, key=key)


def _decode_data_uri(wanted: Wanted, text: str) -> bytes:
    header, comma, body = text.partition(",")
    if not comma:
        raise InputError(
            f"{wanted}: the data URI has no comma; write data:image/png;base64,… with the "
            "encoded bytes after the comma.",
            **wanted.details,
        )
    encoded = unquote_to_bytes(body) if "%" in body else body.encode("utf-8", "replace")
    if header.lower().endswith(";base64"):
        return _decode_base64(wanted, encoded.decode("ascii", "replace"))
    _check_size(wanted, len(encoded))
    return encoded


def _decode_base64(wanted: Wanted, text: str) -> bytes:
    digits = "".join(text.split()).translate(_URL_SAFE_ALPHABET).rstrip("=")
    _check_size(wanted, len(digits) * 3 // 4)
    padding = "=" * (-len(digits) % 4)
    try:
        data = base64.b64decode(digits + padding, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(
            f"{wanted} is neither an address nor base64. Give an http(s) URL, a data URI, "
            "the file's bytes in base64, or s3://bucket/key; files on the worker's own disk "
            "cannot be named.",
            **wanted.details,
        ) from error
    if not data:
        raise InputError(f"{wanted} is empty. Give an address or data.", **wanted.details)
    return data


def _check_size(wanted: Wanted, size: int) -> None:
    if size > wanted.max_bytes:
        raise InputTooLargeError(
            f"{wanted} has {size} bytes; at most {wanted.max_bytes} are allowed. Send a "
            f"smaller file, or raise {wanted.size_setting}.",
            **wanted.details,
            max_bytes=wanted.max_bytes,
        )


def parse_http_url(text: str) -> HttpUrl:
    """Parse a URL; stricter than browsers, so that nothing can be read in two ways.

    Raises:
        ValueError: It is not an http(s) URL, or has user information or no valid host or port;
            the text says which and does not repeat the URL.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError("it is not a well-formed URL") from error
    if parts.scheme not in ("http", "https"):
        raise ValueError("it is not an http or https URL")
    if parts.username is not None or parts.password is not None:
        raise ValueError("it has a user name or password, which is not supported")
    if port == 0:
        raise ValueError("port 0 cannot be connected to")
    host = parts.hostname or ""
    if "[" in parts.netloc and ":" not in host:
        raise ValueError("its address in brackets is not an IPv6 address")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return HttpUrl(
        scheme="https" if parts.scheme == "https" else "http",
        host=normalise_host(host),
        port=port or _DEFAULT_PORTS[parts.scheme],
        # Only what a request line cannot contain is encoded: a signature may cover the rest.
        target=quote(target, safe=string.punctuation),
    )


def normalise_host(host: str) -> str:
    """Return a host name or IP address (without brackets) in the one spelling used here.

    Raises:
        ValueError: It is neither.
    """
    if ":" in host:
        return _normalise_ipv6(host)
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise ValueError("its host is not a valid international name") from error
    host = host.lower().removesuffix(".")
    if not _HOST_NAME.fullmatch(host):
        raise ValueError("it has no valid host name")
    return host


def _normalise_ipv6(host: str) -> str:
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError as error:
        raise ValueError("its IPv6 address is not valid") from error
    if address.scope_id is not None:
        raise ValueError("its IPv6 address has a zone, which is not supported")
    return str(address)
