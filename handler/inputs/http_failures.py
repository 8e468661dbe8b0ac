"""What went wrong with an HTTP fetch, said to the caller."""

from __future__ import annotations

import socket
import ssl
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

import httpcore

from handler.contract.errors import FetchError, FetchUnavailableError, ForbiddenAddressError
from handler.inputs.addresses import RefusedAddressError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from handler.inputs.time_limit import TimeLimit
    from handler.inputs.urls import HttpUrl

_TRANSIENT_STATUSES = frozenset({429, 502, 503, 504})


class TransientFetchError(FetchUnavailableError):
    """A failure worth another attempt within the same fetch."""


@contextmanager
def explain_failures(name: str, url: HttpUrl, limit: TimeLimit) -> Iterator[None]:
    """Turn what the network raises into errors that name the image and say what to change.

    Args:
        name: The image's name in the event.
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
            f"Image {name!r}: the host of {url.shown} has {error.kind}, which this worker must not "
            "fetch from. Use a public address or send the image inline; an operator can allow "
            "the host in INPUT_ALLOWED_HOSTS.",
            image=name,
            url=url.shown,
            host=url.host,
        ) from error
    except socket.gaierror as error:
        again = error.errno == socket.EAI_AGAIN
        raise (TransientFetchError if again else FetchUnavailableError)(
            f"Image {name!r}: the host name {url.host!r} could not be resolved. Check its "
            "spelling; if it is right, send the job again later.",
            image=name,
            url=url.shown,
            host=url.host,
        ) from error
    except TimeoutError as error:
        raise FetchUnavailableError(
            f"Image {name!r}: {url.shown} did not arrive within {limit.seconds:g} s. Use a faster "
            "server or a smaller file, or raise INPUT_TIMEOUT_SECONDS.",
            image=name,
            url=url.shown,
            timeout_seconds=limit.seconds,
        ) from error
    except (httpcore.ReadTimeout, httpcore.WriteTimeout) as error:
        raise FetchUnavailableError(
            f"Image {name!r}: {url.shown} stopped answering. Check that server, or send the job "
            "again later.",
            image=name,
            url=url.shown,
        ) from error
    except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
        if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in error.args):
            raise FetchError(
                f"Image {name!r}: the TLS certificate of {url.host!r} is not valid for that name "
                "or not from a known authority. Use an address with a valid certificate.",
                image=name,
                url=url.shown,
                host=url.host,
            ) from error
        raise TransientFetchError(
            f"Image {name!r}: nothing answers at {url.authority}. Check host, port and scheme; if "
            "they are right, send the job again later.",
            image=name,
            url=url.shown,
            host=url.host,
        ) from error
    except (httpcore.ReadError, httpcore.WriteError, httpcore.RemoteProtocolError) as error:
        raise TransientFetchError(
            f"Image {name!r}: {url.shown} broke off its answer, or did not answer in HTTP. Check "
            "that server, or send the job again later.",
            image=name,
            url=url.shown,
        ) from error


def status_error(name: str, url: HttpUrl, status: int) -> FetchError:
    """Make the error for a status that is neither 200 nor a redirect.

    Args:
        name: The image's name in the event.
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
        f"Image {name!r}: {url.shown} answered with status {status} instead of 200. {advice}",
        image=name,
        url=url.shown,
        status=status,
    )
