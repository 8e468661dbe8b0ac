"""HTTP URLs, parsed once: what is shown, checked, resolved and requested is the same."""

from __future__ import annotations

import ipaddress
import re
import string
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, urljoin, urlsplit

import idna

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
        # Only what cannot stand in a request line is encoded: a signature may cover the rest.
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
