"""Inputs from http(s) addresses that callers choose."""

from __future__ import annotations

import functools
import logging
import socket
import ssl
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, BinaryIO

import httpcore

from handler.contract.errors import (
    FetchError,
    FetchUnavailableError,
    ForbiddenAddressError,
    InputTooLargeError,
)
from handler.inputs.guard import AddressGuard, GuardedNetwork, RefusedAddressError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from handler.inputs.guard import Resolver
    from handler.inputs.source import HttpUrl
    from handler.inputs.time_limit import TimeLimit
    from handler.inputs.wanted import Wanted
    from handler.settings import Settings

CONNECT_TIMEOUT = 5.0
"""Seconds for one address to accept a connection, and again for the TLS handshake."""
SILENCE_TIMEOUT = 10.0
"""Seconds that a server may send nothing."""
RETRY_PAUSES = (0.2, 0.6)
"""Seconds to wait before each further attempt after a failure that may be over soon."""

_TRANSIENT_STATUSES = frozenset({429, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEADERS = (
    ("User-Agent", "serverless-comfyui"),
    ("Accept-Encoding", "identity"),
)
_TIMEOUTS = {"connect": CONNECT_TIMEOUT, "read": SILENCE_TIMEOUT, "write": SILENCE_TIMEOUT}

_logger = logging.getLogger(__name__)


class HttpReader:
    """Reads the body at a URL. Safe to use from several threads at once.

    Each request has its own connection: the addresses that callers give rarely share a host, a
    connection can hold its fetch's time limit, and none is left open.

    Args:
        settings: Limits and allowed hosts.
        resolve: Finds a host's addresses.
        network: Connects to an address. Proxies named in the environment are not used: a proxy
            would resolve names itself, past the guard.

    Raises:
        ConfigurationError: An allowed host is not a host.
    """

    def __init__(
        self, settings: Settings, resolve: Resolver, network: httpcore.NetworkBackend
    ) -> None:
        self._guard = AddressGuard(settings.input_allowed_hosts)
        self._max_redirects = settings.input_max_redirects
        self._resolve = resolve
        self._network = network

    def read(self, wanted: Wanted, url: HttpUrl, limit: TimeLimit, sink: BinaryIO) -> None:
        """Write a body to a file, following redirects; try again after transient failures.

        Args:
            wanted: What is fetched.
            url: Where it is said to be.
            limit: Time for all attempts together.
            sink: Can be sought in; what a failed attempt wrote is cut off again.

        Raises:
            ForbiddenAddressError: The host, or one redirected to, has a refused address.
            InputTooLargeError: The body is longer than ``wanted.max_bytes``.
            FetchUnavailableError: Not reachable, too slow, or failing for now.
            FetchError: The server's answer is not a body and will stay so.
            CancelledError: The job was cancelled.
            DeadlineError: The job's time is up.
        """
        for pause in RETRY_PAUSES:
            try:
                return self._follow(wanted, url, limit, sink)
            except TransientFetchError as failure:
                if limit.remaining <= pause:
                    raise
                _logger.info("input_fetch_retried", extra={"reason": failure.message})
            limit.pause(pause)
        return self._follow(wanted, url, limit, sink)

    def _follow(self, wanted: Wanted, url: HttpUrl, limit: TimeLimit, sink: BinaryIO) -> None:
        network = GuardedNetwork(self._guard, limit, self._resolve, self._network)
        for _ in range(self._max_redirects + 1):
            with _explain_failures(wanted, url, limit):
                following = self._get(wanted, url, network, sink)
            if following is None:
                return
            url = following
        raise FetchError(
            f"{wanted}: its address redirects more than {self._max_redirects} times. Give "
            "the address it ends at, or raise INPUT_MAX_REDIRECTS.",
            **wanted.details,
            max_redirects=self._max_redirects,
        )

    def _get(
        self, wanted: Wanted, url: HttpUrl, network: GuardedNetwork, sink: BinaryIO
    ) -> HttpUrl | None:
        """Write the body, or return where the server redirects to."""
        address = httpcore.URL(scheme=url.scheme, host=url.host, port=url.port, target=url.target)
        with (
            httpcore.HTTPConnection(
                address.origin,
                ssl_context=self._ssl_context if url.scheme == "https" else None,
                network_backend=network,
            ) as connection,
            connection.stream(
                "GET",
                address,
                headers=[("Host", url.authority), ("Accept", wanted.accepted), *_HEADERS],
                extensions={"timeout": _TIMEOUTS},
            ) as response,
        ):
            if response.status in _REDIRECTS:
                return _redirect(wanted, url, response)
            if response.status != HTTPStatus.OK:
                raise _status_error(wanted, url, response.status)
            _write_body(wanted, url, response, sink)
            return None

    @functools.cached_property
    def _ssl_context(self) -> ssl.SSLContext:
        # Reading the authorities takes about 0.1 s: once per process, and not at its start.
        return httpcore.default_ssl_context()


def _write_body(wanted: Wanted, url: HttpUrl, response: httpcore.Response, sink: BinaryIO) -> None:
    announced = int(_header(response, b"content-length") or 0)
    received = 0
    sink.seek(0)
    sink.truncate()
    if announced <= wanted.max_bytes:
        for chunk in response.iter_stream():
            received += len(chunk)
            if received > wanted.max_bytes:
                break
            sink.write(chunk)
    if max(announced, received) > wanted.max_bytes:
        raise InputTooLargeError(
            f"{wanted}: {url.shown} has more than {wanted.max_bytes} bytes. Use a smaller file, "
            f"or raise {wanted.size_setting}.",
            **wanted.details,
            url=url.shown,
            max_bytes=wanted.max_bytes,
        )


def _redirect(wanted: Wanted, url: HttpUrl, response: httpcore.Response) -> HttpUrl:
    location = _header(response, b"location")
    if location is None:
        raise _status_error(wanted, url, response.status)
    try:
        return _next_address(url, location.decode("utf-8", "replace"))
    except ValueError as error:
        raise FetchError(
            f"{wanted}: {url.shown} redirects to an address that is not followed: {error}. "
            "Give the address of the file itself.",
            **wanted.details,
            url=url.shown,
        ) from error


def _next_address(url: HttpUrl, location: str) -> HttpUrl:
    following = url.join(location)
    if url.scheme == "https" and following.scheme == "http":
        # A caller that gives an https address relies on nobody on the way seeing the address or
        # changing the picture. A server cannot waive that; the caller can, by giving http.
        raise ValueError("it leads from https to http")
    return following


def _header(response: httpcore.Response, name: bytes) -> bytes | None:
    return next((value for key, value in response.headers if key.lower() == name), None)


class TransientFetchError(FetchUnavailableError):
    """A failure worth another attempt within the same fetch."""


@contextmanager
def _explain_failures(wanted: Wanted, url: HttpUrl, limit: TimeLimit) -> Iterator[None]:
    """Turn what the network raises into errors that name the input and say what to change.

    Args:
        wanted: What is fetched.
        url: The address being fetched.
        limit: The fetch's time.

    Raises:
        ForbiddenAddressError: The host has a refused address.
        TransientFetchError: The connection failed; another attempt may not.
        FetchUnavailableError: The host is unknown, or the time is up.
        FetchError: The server's certificate is not valid for its name.
    """
    try:
        yield
    except RefusedAddressError as error:
        raise ForbiddenAddressError(
            f"{wanted}: the host of {url.shown} has {error.kind}, which this worker must not "
            "fetch from. Use a public address or send it inline; an operator can allow "
            "the host in INPUT_ALLOWED_HOSTS.",
            **wanted.details,
            url=url.shown,
            host=url.host,
        ) from error
    except socket.gaierror as error:
        again = error.errno == socket.EAI_AGAIN
        raise (TransientFetchError if again else FetchUnavailableError)(
            f"{wanted}: the host name {url.host!r} could not be resolved. Check its "
            "spelling; if it is right, send the job again later.",
            **wanted.details,
            url=url.shown,
            host=url.host,
        ) from error
    except TimeoutError as error:
        raise FetchUnavailableError(
            f"{wanted}: {url.shown} did not arrive within {limit.seconds:g} s. Use a faster "
            f"server or a smaller file, or raise {wanted.time_setting}.",
            **wanted.details,
            url=url.shown,
            timeout_seconds=limit.seconds,
        ) from error
    except (httpcore.ReadTimeout, httpcore.WriteTimeout) as error:
        raise FetchUnavailableError(
            f"{wanted}: {url.shown} stopped answering. Check that server, or send the job "
            "again later.",
            **wanted.details,
            url=url.shown,
        ) from error
    except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
        if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in error.args):
            raise FetchError(
                f"{wanted}: the TLS certificate of {url.host!r} is not valid for that name "
                "or not from a known authority. Use an address with a valid certificate.",
                **wanted.details,
                url=url.shown,
                host=url.host,
            ) from error
        raise TransientFetchError(
            f"{wanted}: nothing answers at {url.authority}. Check host, port and scheme; if "
            "they are right, send the job again later.",
            **wanted.details,
            url=url.shown,
            host=url.host,
        ) from error
    except (httpcore.ReadError, httpcore.WriteError, httpcore.RemoteProtocolError) as error:
        raise TransientFetchError(
            f"{wanted}: {url.shown} ended its answer early, or did not answer in HTTP. Check "
            "that server, or send the job again later.",
            **wanted.details,
            url=url.shown,
        ) from error


def _status_error(wanted: Wanted, url: HttpUrl, status: int) -> FetchError:
    """Make the error for a status that is neither 200 nor a redirect.

    Args:
        wanted: What is fetched.
        url: The address that answered.
        status: HTTP status code.
    """
    kind: type[FetchError] = FetchError
    advice = "Check the address and, if it is a signed one, that it has not expired."
    if status in _TRANSIENT_STATUSES:
        kind, advice = TransientFetchError, "Send the job again later."
    elif status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.REQUEST_TIMEOUT:
        kind, advice = FetchUnavailableError, "Send the job again later."
    return kind(
        f"{wanted}: {url.shown} answered with status {status} instead of 200. {advice}",
        **wanted.details,
        url=url.shown,
        status=status,
    )
