"""One attempt: a POST to an address that a caller chose, guarded as inputs are."""

from __future__ import annotations

import functools
import socket
import time
from http import HTTPStatus
from typing import TYPE_CHECKING

import httpcore

from comfyui_runtime.run.cancellation import Cancellation
from handler.contract.webhook_signature import signature_headers
from handler.inputs.guard import AddressGuard, GuardedNetwork, RefusedAddressError
from handler.inputs.source import parse_http_url
from handler.inputs.time_limit import TimeLimit

if TYPE_CHECKING:
    import ssl

    from handler.inputs.guard import Resolver
    from handler.settings import Settings
    from handler.webhooks.message import Message

_NETWORK_FAILURES = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
    OSError,  # names that cannot be resolved, and the time limit's end
)


class UndeliveredError(Exception):
    """An attempt failed.

    Attributes:
        reason: Why, without the address's path and query.
        final: Whether a further attempt is of no use.
    """

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.final = final


class Poster:
    """Posts messages. Safe from several threads at once.

    Args:
        settings: Allowed hosts and the time limit.
        keys: What signs.
        resolve: Finds a host's addresses.

    Raises:
        ConfigurationError: An allowed host is not a host.
    """

    def __init__(self, settings: Settings, keys: tuple[bytes, ...], resolve: Resolver) -> None:
        self._guard = AddressGuard(settings.webhook_allowed_hosts, "WEBHOOK_ALLOWED_HOSTS")
        self._timeout = settings.webhook_timeout
        self._keys = keys
        self._resolve = resolve

    def post(self, message: Message) -> None:
        """Send a message once. Of the answer only the status is read, and no redirect followed.

        Raises:
            UndeliveredError: The receiver did not say that it has it.
        """
        try:
            status = self._status_of(message)
        except RefusedAddressError as error:
            raise UndeliveredError(
                f"the host has {error.kind}, and WEBHOOK_ALLOWED_HOSTS does not name it",
                final=True,
            ) from error
        except _NETWORK_FAILURES as error:
            raise UndeliveredError(_reason(error, self._timeout)) from error
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            # A receiver that is gone for good says so (Standard Webhooks, "Webhook delivery").
            raise UndeliveredError(f"status {status}", final=status == HTTPStatus.GONE)

    def _status_of(self, message: Message) -> int:
        url = parse_http_url(message.url)
        body = message.body.encode()
        limit = TimeLimit(self._timeout, Cancellation())
        network = GuardedNetwork(self._guard, limit, self._resolve, httpcore.SyncBackend())
        address = httpcore.URL(scheme=url.scheme, host=url.host, port=url.port, target=url.target)
        signature = signature_headers(self._keys, message.message_id, int(time.time()), body)
        headers = {
            "Host": url.authority,
            "User-Agent": "serverless-comfyui",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
            **signature,
        }
        step = self._timeout
        with (
            httpcore.HTTPConnection(
                address.origin,
                ssl_context=self._ssl_context if url.scheme == "https" else None,
                network_backend=network,
            ) as connection,
            connection.stream(
                "POST",
                address,
                headers=list(headers.items()),
                content=body,
                extensions={"timeout": {"connect": step, "read": step, "write": step}},
            ) as response,
        ):
            return response.status

    @functools.cached_property
    def _ssl_context(self) -> ssl.SSLContext:
        # Reading the authorities takes about 0.1 s: once, and not at the start.
        return httpcore.default_ssl_context()


def _reason(error: Exception, timeout: float) -> str:
    if isinstance(error, TimeoutError | httpcore.TimeoutException):
        return f"no answer within {timeout:g} s"
    if isinstance(error, socket.gaierror):
        return "the host's name could not be resolved"
    if isinstance(error, httpcore.ConnectError):
        return "nothing answers there, or its certificate is not valid"
    return "the connection broke off"
