"""Results sent to addresses that the event itself gives, such as presigned ones of a bucket's.

They are guarded as the addresses of inputs are. Their query holds a signature: nothing that is
logged or answered has it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import re
import socket
import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING

import httpcore

from comfyui_runtime.run.cancellation import Cancellation
from handler.contract.errors import (
    EventError,
    ForbiddenAddressError,
    StorageError,
    StorageUnavailableError,
)
from handler.inputs.guard import (
    AddressGuard,
    GuardedNetwork,
    RefusedAddressError,
    resolve_with_system,
)
from handler.inputs.source import parse_http_url
from handler.inputs.time_limit import TimeLimit
from handler.job.content import content_size, storable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

    from handler.inputs.guard import Resolver
    from handler.inputs.source import HttpUrl
    from handler.job.content import Content
    from handler.settings import Settings

log = logging.getLogger(__name__)

_CHUNK_BYTES = 256 * 1024
_PAUSE = 0.5
_TAKEN = frozenset({HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT})
_PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
_MD5 = re.compile(r'"?([0-9a-f]{32})"?')
# Azure's storage wants to know what is to be made.
_AZURE = ".blob.core.windows.net"


class PutAddresses:
    """Sends files to addresses. Safe to use from several threads at once.

    Args:
        settings: Time, tries, and hosts in private networks that are allowed.
        resolve: Finds a host's addresses.
        network: Connects to an address that was found fit.

    Raises:
        ConfigurationError: ``Settings.input_allowed_hosts`` has an entry that is no host.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        resolve: Resolver = resolve_with_system,
        network: httpcore.NetworkBackend | None = None,
    ) -> None:
        self._guard = AddressGuard(settings.input_allowed_hosts)
        self._resolve = resolve
        self._network = network or httpcore.SyncBackend()
        self._seconds = settings.put_timeout
        self._silence = settings.bucket_timeout
        self._attempts = settings.bucket_attempts

    def check(self, addresses: Iterable[str], cancellation: Cancellation) -> None:
        """Return if results may be sent to all of them: before the work that makes the results.

        A host that cannot be resolved now may be by then.

        Raises:
            EventError: One is no address.
            ForbiddenAddressError: One leads into a network that the worker must not reach.
            ServiceError: The job was cancelled.
        """
        for url in dict.fromkeys(map(parse_put_address, addresses)):
            limit = TimeLimit(self._seconds, cancellation)
            network = GuardedNetwork(self._guard, limit, self._resolve, self._network)
            try:
                network.check(url.host, url.port)
            except RefusedAddressError as error:
                raise ForbiddenAddressError(_refused(url, error), url=url.shown) from error
            except (OSError, TimeoutError):
                log.info("host of a put address is not known now", extra={"host": url.host})

    def put(self, address: str, data: Content, content_type: str) -> str:
        """Send a file, and try again after failures that may be over soon.

        Returns:
            The address without its query: where the file is.

        Raises:
            StorageError: It was not taken, and will not be.
            StorageUnavailableError: It was not taken for now.
        """
        url = parse_put_address(address)
        limit = TimeLimit(self._seconds, Cancellation())
        for attempt in range(1, self._attempts + 1):
            try:
                self._put_once(url, data, content_type, limit)
            except StorageUnavailableError as error:
                pause = _PAUSE * 2 ** (attempt - 1)
                if attempt == self._attempts or limit.remaining <= pause:
                    raise
                log.info("result is sent again", extra={"reason": error.message})
                with contextlib.suppress(TimeoutError):  # the next try says so
                    limit.pause(pause)
            else:
                break
        return url.shown

    def _put_once(self, url: HttpUrl, data: Content, content_type: str, limit: TimeLimit) -> None:
        network = GuardedNetwork(self._guard, limit, self._resolve, self._network)
        target = httpcore.URL(scheme=url.scheme, host=url.host, port=url.port, target=url.target)
        headers = [
            ("Host", url.authority),
            ("User-Agent", "serverless-comfyui"),
            ("Content-Type", content_type),
            ("Content-Length", str(content_size(data))),
        ]
        if url.host.endswith(_AZURE):
            headers.append(("x-ms-blob-type", "BlockBlob"))
        timeouts = dict.fromkeys(("connect", "read", "write"), self._silence)
        try:
            with (
                storable(data) as content,
                httpcore.HTTPConnection(
                    target.origin,
                    ssl_context=_ssl_context() if url.scheme == "https" else None,
                    network_backend=network,
                ) as connection,
            ):
                answer = connection.request(
                    "PUT",
                    target,
                    headers=headers,
                    content=_chunks(content),
                    extensions={"timeout": timeouts},
                )
        except RefusedAddressError as error:
            raise StorageError(_refused(url, error), url=url.shown) from error
        except httpcore.ConnectError as error:
            if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in error.args):
                raise StorageError(
                    f"The certificate of {url.host!r}, where the result is to be sent, is not "
                    "valid. Give an address with a valid one in output.put_urls.",
                    url=url.shown,
                ) from error
            raise _unavailable(url, "nothing answers there") from error
        except socket.gaierror as error:
            raise _unavailable(url, "its host name cannot be resolved") from error
        except TimeoutError as error:
            raise _unavailable(
                url, f"it was not sent within {limit.seconds:g} s (PUT_TIMEOUT_SECONDS)"
            ) from error
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise _unavailable(url, "the connection broke off") from error
        _check_taken(url, answer, data)


def parse_put_address(address: str) -> HttpUrl:
    """Return an address of the event's.

    Raises:
        EventError: It is none; it is not repeated.
    """
    try:
        return parse_http_url(address)
    except ValueError as error:
        raise EventError(f"Fix an address in output.put_urls: {error}.") from error


def _check_taken(url: HttpUrl, answer: httpcore.Response, data: Content) -> None:
    status = answer.status
    if status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise _unavailable(url, f"it answered with status {status}")
    if status not in _TAKEN:
        raise StorageError(
            f"The result was not taken by {url.shown}: it answered with status {status}. Send the "
            "job again with new addresses in output.put_urls; check that they are signed for PUT, "
            "for the bucket's own region, and for no header but Content-Type.",
            url=url.shown,
            status=status,
        )
    headers = {name.lower(): value.decode("latin-1") for name, value in answer.headers}
    tag = _MD5.fullmatch(headers.get(b"etag", ""))
    # Of what S3 storages keep unencrypted the tag is the content's MD5; elsewhere it is anything.
    is_s3 = any(name.startswith(b"x-amz-") for name in headers)
    is_encrypted = any(name.startswith(b"x-amz-server-side-encryption") for name in headers)
    if tag and is_s3 and not is_encrypted and tag[1] != _md5(data):
        raise _unavailable(url, "what it says it has is not what was sent")


def _refused(url: HttpUrl, error: RefusedAddressError) -> str:
    return (
        f"The host of {url.shown}, where the result is to be sent, has {error.kind}, which this "
        "worker must not reach. Give a public address; an operator can allow the host in "
        "INPUT_ALLOWED_HOSTS."
    )


def _unavailable(url: HttpUrl, why: str) -> StorageUnavailableError:
    return StorageUnavailableError(
        f"The result could not be sent to {url.shown}: {why}. Send the job again later, with new "
        "addresses in output.put_urls if these have expired.",
        url=url.shown,
    )


def _chunks(content: bytes | BinaryIO) -> Iterator[bytes]:
    if isinstance(content, bytes):
        view = memoryview(content)
        for start in range(0, len(view), _CHUNK_BYTES):
            yield bytes(view[start : start + _CHUNK_BYTES])
        return
    while chunk := content.read(_CHUNK_BYTES):
        yield chunk


def _md5(data: Content) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with storable(data) as content:
        for chunk in _chunks(content):
            digest.update(chunk)
    return digest.hexdigest()


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    return httpcore.default_ssl_context()
