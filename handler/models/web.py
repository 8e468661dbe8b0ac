"""Model files over http(s): with the host's token, resumed where an earlier try ended.

A token is sent to its own host only, and only over TLS or to this machine itself: hosts of models
redirect to storage elsewhere, which has no business with it.
"""

from __future__ import annotations

import contextlib
import functools
import re
import socket
import ssl
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

import httpcore

from handler.inputs.guard import AddressGuard, GuardedNetwork, RefusedAddressError
from handler.inputs.source import parse_http_url
from handler.models.errors import ModelFetchError, RefusedModelError
from handler.models.part import PartFile, Version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from handler.inputs.guard import Resolver
    from handler.inputs.source import HttpUrl
    from handler.inputs.time_limit import TimeLimit

_TIMEOUTS = {"connect": 10.0, "read": 30.0, "write": 30.0}
_TRIES_WITHOUT_PROGRESS = 5
_PAUSE = 1.0
_LONGEST_PAUSE = 15.0
_MOST_REDIRECTS = 8
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LOGIN = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_SHA256 = re.compile(rb'"?([0-9a-f]{64})"?')
_CONTENT_RANGE = re.compile(rb"bytes (\d+)-\d+/(\d+|\*)")
TOKEN_SETTINGS = {"huggingface.co": "HF_TOKEN", "civitai.com": "CIVITAI_TOKEN"}
"""The setting that has a host's token."""


class AnyAddress(AddressGuard):
    """Lets every address pass: for those that the operator himself listed."""

    def __init__(self) -> None:
        super().__init__(())

    def check(self, host: str, port: int, addresses: Iterable[str]) -> None:
        """Return."""


@dataclass(frozen=True)
class Web:
    """How to reach the hosts of models. Safe to use from several threads at once.

    Attributes:
        guard: Says which addresses are refused.
        tokens: Access token by host, with the port where it is not the usual one.
        may_redirect_to: Says whether a redirect to an address may be followed.
    """

    guard: AddressGuard
    resolve: Resolver
    network: httpcore.NetworkBackend = field(default_factory=httpcore.SyncBackend)
    tokens: Mapping[str, str] = field(default_factory=dict)
    may_redirect_to: Callable[[HttpUrl], bool] = lambda _: True

    def fetch(self, address: str, part: PartFile, limit: TimeLimit) -> str | None:
        """Bring a whole file into ``part``, going on from what is there already.

        Returns:
            The SHA-256 that the host itself states, as Hugging Face does; ``None`` without one.

        Raises:
            ModelFetchError: It cannot be had.
            CancelledError: The fetch was cancelled.
            DeadlineError: The job's time is up.
            TimeoutError: The fetch's time is up.
        """
        try:
            url = parse_http_url(address)
        except ValueError as error:
            raise ModelFetchError(f"{error}") from error
        tries = 0
        while True:
            before = part.size
            try:
                return self._fetch_once(url, part, limit)
            except ModelFetchError as failure:
                tries = 1 if part.size > before else tries + 1
                if not failure.passing or tries >= _TRIES_WITHOUT_PROGRESS:
                    raise
            limit.pause(min(_LONGEST_PAUSE, _PAUSE * 2 ** (tries - 1)))

    def _fetch_once(self, url: HttpUrl, part: PartFile, limit: TimeLimit) -> str | None:
        network = GuardedNetwork(self.guard, limit, self.resolve, self.network)
        stated: str | None = None
        first = url
        for _ in range(_MOST_REDIRECTS + 1):
            with _failures(url), self._answer(first, url, part, network) as answer:
                stated = stated or _stated_digest(answer)
                if answer.status not in _REDIRECTS:
                    _take(first, url, answer, part)
                    return stated
                following = _following(url, answer)
            if not self.may_redirect_to(following):
                raise ModelFetchError(
                    f"{url.shown} redirects to {following.authority}, which is not allowed"
                )
            url = following
        raise ModelFetchError(f"{first.shown} redirects more than {_MOST_REDIRECTS} times")

    @contextlib.contextmanager
    def _answer(
        self, first: HttpUrl, url: HttpUrl, part: PartFile, network: GuardedNetwork
    ) -> Iterator[httpcore.Response]:
        headers = [
            ("Host", url.authority),
            ("User-Agent", "serverless-comfyui"),
            ("Accept", "*/*"),
            ("Accept-Encoding", "identity"),
        ]
        token = self._token(url)
        if token is not None:
            headers.append(("Authorization", f"Bearer {token}"))
        known = part.known(first.shown)
        if known is not None and known.tag is not None:
            headers += [("Range", f"bytes={part.size}-"), ("If-Range", known.tag)]
        address = httpcore.URL(scheme=url.scheme, host=url.host, port=url.port, target=url.target)
        with (
            httpcore.HTTPConnection(
                address.origin,
                ssl_context=_ssl_context() if url.scheme == "https" else None,
                network_backend=network,
            ) as connection,
            connection.stream(
                "GET", address, headers=headers, extensions={"timeout": _TIMEOUTS}
            ) as answer,
        ):
            yield answer

    def _token(self, url: HttpUrl) -> str | None:
        private = url.scheme == "https" or url.host in _LOOPBACK
        return self.tokens.get(url.authority) if private else None


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    return httpcore.default_ssl_context()


def _take(first: HttpUrl, url: HttpUrl, answer: httpcore.Response, part: PartFile) -> None:
    if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        part.discard()
        raise ModelFetchError(f"{url.shown} has another file now", passing=True)
    if answer.status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
        raise _refusal(url, answer.status)
    start, size = 0, _length(answer)
    if answer.status == HTTPStatus.PARTIAL_CONTENT:
        span = _CONTENT_RANGE.fullmatch(_header(answer, b"content-range") or b"")
        if span is None or int(span[1]) != part.size:
            part.discard()
            raise ModelFetchError(f"{url.shown} sent another part than asked for", passing=True)
        start, size = int(span[1]), None if span[2] == b"*" else int(span[2])
    part.write(Version(first.shown, _strong_tag(answer), size), start, answer.iter_stream())


def _refusal(url: HttpUrl, status: int) -> ModelFetchError:
    told = f"{url.shown} answered with status {status}"
    if status in _LOGIN:
        setting = TOKEN_SETTINGS.get(url.host)
        advice = (
            f"set {setting} to the token of an account that has accepted the model's terms on its "
            "page"
            if setting
            else "the host wants a login, or the address has expired"
        )
        return ModelFetchError(f"{told}: {advice}")
    if status == HTTPStatus.NOT_FOUND:
        return ModelFetchError(f"{told}: correct the address")
    return ModelFetchError(told, passing=status in _PASSING)


def _following(url: HttpUrl, answer: httpcore.Response) -> HttpUrl:
    location = _header(answer, b"location")
    if location is None:
        raise _refusal(url, answer.status)
    try:
        following = url.join(location.decode("utf-8", "replace"))
    except ValueError as error:
        raise ModelFetchError(f"{url.shown} redirects to what cannot be followed: {error}") from (
            error
        )
    if url.scheme == "https" and following.scheme == "http":
        raise ModelFetchError(f"{url.shown} redirects from https to http, which is not followed")
    return following


def _length(answer: httpcore.Response) -> int | None:
    text = _header(answer, b"content-length")
    return int(text) if text is not None and text.isdigit() else None


def _strong_tag(answer: httpcore.Response) -> str | None:
    tag = (_header(answer, b"etag") or b"").decode("latin-1")
    return tag if tag.startswith('"') else None


def _stated_digest(answer: httpcore.Response) -> str | None:
    stated = _SHA256.fullmatch(_header(answer, b"x-linked-etag") or b"")
    return stated[1].decode() if stated else None


def _header(answer: httpcore.Response, name: bytes) -> bytes | None:
    return next((value for key, value in answer.headers if key.lower() == name), None)


@contextlib.contextmanager
def _failures(url: HttpUrl) -> Iterator[None]:
    try:
        yield
    except RefusedAddressError as error:
        raise RefusedModelError(
            f"the host of {url.shown} has {error.kind}, which this worker must not fetch from"
        ) from error
    except socket.gaierror as error:
        raise ModelFetchError(
            f"the host name {url.host!r} could not be resolved",
            passing=error.errno == socket.EAI_AGAIN,
        ) from error
    except httpcore.ConnectError as error:
        if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in error.args):
            raise ModelFetchError(f"the TLS certificate of {url.host!r} is not valid") from error
        raise ModelFetchError(f"nothing answers at {url.authority}", passing=True) from error
    except (
        httpcore.TimeoutException,
        httpcore.ReadError,
        httpcore.WriteError,
        httpcore.RemoteProtocolError,
    ) as error:
        raise ModelFetchError(f"{url.shown} ended or stopped its answer early", passing=True) from (
            error
        )
