"""The network as a fetch sees it: every address checked, every wait bounded.

httpcore asks for a connection by host name. :class:`GuardedNetwork` resolves the name itself, has
all addresses checked, and connects to one of exactly these: no second look-up can answer
differently (DNS rebinding). httpcore still sends the name as Host and for TLS.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import httpcore

if TYPE_CHECKING:
    import ssl

    from handler.inputs.addresses import AddressGuard
    from handler.inputs.time_limit import TimeLimit

Resolver = Callable[[str, int], Sequence[str]]
"""From host and port to all addresses of the host, best first; raises ``socket.gaierror``."""


def resolve_with_system(host: str, port: int) -> Sequence[str]:
    """Resolve as the operating system does.

    Raises:
        socket.gaierror: The host has no address, or nobody could be asked.
    """
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in answers]


class GuardedNetwork(httpcore.NetworkBackend):
    """Connections for one fetch.

    Args:
        guard: Says which addresses are refused.
        limit: The fetch's time.
        resolve: Finds a host's addresses.
        network: Connects to an address.
    """

    def __init__(
        self,
        guard: AddressGuard,
        limit: TimeLimit,
        resolve: Resolver,
        network: httpcore.NetworkBackend,
    ) -> None:
        self._guard = guard
        self._limit = limit
        self._resolve = resolve
        self._network = network

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address of a host that answers.

        Args:
            host: Name or IP address.
            port: TCP port.
            timeout: Seconds for each address.
            local_address: Passed on.
            socket_options: Passed on.

        Raises:
            RefusedAddressError: An address of the host is refused; no connection was made.
            socket.gaierror: The host's name could not be resolved.
            httpcore.ConnectError: No address accepted the connection.
            httpcore.ConnectTimeout: No address answered in time.
            CancelledError: The job was cancelled.
            DeadlineError: The job's time is up.
            TimeoutError: The fetch's time is up.
        """
        addresses = self._addresses_of(host, port)
        self._guard.check(host, port, addresses)
        failure: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in addresses:
            longest = self._limit.step(_or_forever(timeout))
            try:
                stream = self._network.connect_tcp(
                    address, port, longest, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _LimitedStream(stream, self._limit)
        if failure is None:
            raise socket.gaierror(socket.EAI_NONAME, "The name has no address.")
        raise failure

    def _addresses_of(self, host: str, port: int) -> Sequence[str]:
        # The system's resolver cannot be given a time limit, so it is waited for from outside.
        answers: queue.SimpleQueue[Sequence[str] | OSError] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put(self._resolve(host, port))
            except OSError as error:
                answers.put(error)

        threading.Thread(target=ask, name="resolve-input-host", daemon=True).start()
        while True:
            try:
                answer = answers.get(timeout=self._limit.step())
            except queue.Empty:
                continue
            if isinstance(answer, OSError):
                raise answer
            return answer


class _LimitedStream(httpcore.NetworkStream):
    """A connection whose reads end with the fetch's time or the job's cancellation."""

    def __init__(self, stream: httpcore.NetworkStream, limit: TimeLimit) -> None:
        self._stream = stream
        self._limit = limit

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        silent_until = time.monotonic() + _or_forever(timeout)
        while True:
            step = self._limit.step()
            try:
                return self._stream.read(max_bytes, step)
            except httpcore.ReadTimeout:
                if time.monotonic() >= silent_until:
                    raise

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._limit.step(_or_forever(timeout)))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        try:
            longest = self._limit.step(_or_forever(timeout))
        except BaseException:
            self.close()
            raise
        return _LimitedStream(
            self._stream.start_tls(ssl_context, server_hostname, longest), self._limit
        )

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - httpcore's own signature
        return self._stream.get_extra_info(info)


def _or_forever(timeout: float | None) -> float:
    return float("inf") if timeout is None else timeout
