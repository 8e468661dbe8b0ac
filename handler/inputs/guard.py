"""The network as a fetch sees it: every address checked, every wait bounded.

A worker sits inside somebody's network, and the addresses of its inputs come from outside it: it
fetches from public addresses only, and from the hosts that the operator names.

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
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpcore

from handler.contract.errors import ConfigurationError
from handler.inputs.source import normalise_host

if TYPE_CHECKING:
    import ssl

    from handler.inputs.time_limit import TimeLimit

Resolver = Callable[[str, int], Sequence[str]]
"""From host and port to all addresses of the host, best first; raises ``socket.gaierror``."""

_METADATA = frozenset(
    map(
        ip_address,
        (
            "169.254.169.254",  # AWS, Google, Azure and most others
            "169.254.170.2",  # credentials of AWS ECS tasks
            "fd00:ec2::254",  # AWS over IPv6
            "fd20:ce::254",  # Google over IPv6
            "100.100.100.200",  # Alibaba
            "168.63.129.16",  # Azure's WireServer, although inside public address space
        ),
    )
)
_CARRIER_GRADE_NAT = IPv4Network("100.64.0.0/10")  # RFC 6598
_SIX_TO_FOUR_RELAYS = IPv4Network("192.88.99.0/24")  # RFC 7526
_GLOBAL_UNICAST = IPv6Network("2000::/3")  # RFC 4291, section 2.4
_DOCUMENTATION = IPv6Network("3fff::/20")  # RFC 9637, unknown to Python 3.11
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052, section 2.1


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

    def check(self, host: str, port: int) -> None:
        """Return if a host may be connected to, without connecting.

        Raises:
            RefusedAddressError: An address of the host is refused.
            socket.gaierror: The host's name could not be resolved.
            CancelledError: The job was cancelled.
            DeadlineError: The job's time is up.
            TimeoutError: The fetch's time is up.
        """
        self._guard.check(host, port, self._addresses_of(host, port))

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


class RefusedAddressError(Exception):
    """A host has an address that must not be fetched from.

    Attributes:
        kind: What the address is, such as "a loopback address". The address itself is left out:
            it would tell a caller what names of an internal network resolve to.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class AddressGuard:
    """Refuses every address that is not public, except for hosts the operator named.

    Args:
        allowed_hosts: Hosts, each as "host" (any port) or "host:port", where host is a name or
            an IP address as URLs spell it; another spelling of the same address is not allowed.
        setting: Where the operator names them.

    Raises:
        ConfigurationError: An entry is neither.
    """

    def __init__(self, allowed_hosts: Iterable[str], setting: str = "INPUT_ALLOWED_HOSTS") -> None:
        self._allowed = frozenset(_parse_allowed_host(entry, setting) for entry in allowed_hosts)

    def check(self, host: str, port: int, addresses: Iterable[str]) -> None:
        """Return if all addresses of a host may be connected to.

        Args:
            host: The host as the URL names it, normalised.
            port: The port that will be connected to.
            addresses: Every address that the host's name resolves to.

        Raises:
            RefusedAddressError: At least one of them is refused.
        """
        if {(host, port), (host, None)} & self._allowed:
            return
        for address in addresses:
            kind = refused_kind(ip_address(address))
            if kind is not None:
                raise RefusedAddressError(kind)


def resolve_with_system(host: str, port: int) -> Sequence[str]:
    """Resolve as the operating system does.

    Raises:
        socket.gaierror: The host has no address, or no name server answered.
    """
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in answers]


def refused_kind(address: IPv4Address | IPv6Address) -> str | None:
    """Say what makes an address one that inputs must not come from; ``None`` when it is public.

    IPv6 addresses that carry an IPv4 address are also judged by that one, for a gateway may
    deliver to it.
    """
    if isinstance(address, IPv6Address):
        for carried in _carried_ipv4(address):
            kind = refused_kind(carried)
            if kind is not None:
                return kind
        if address.ipv4_mapped is not None or address in _NAT64:
            return None
    kinds = {
        "a cloud metadata address": address in _METADATA,
        "an unspecified address": address.is_unspecified,
        "a loopback address": address.is_loopback,
        "a link-local address": address.is_link_local,
        "a multicast address": address.is_multicast,
        "a carrier-grade NAT address": address in _CARRIER_GRADE_NAT,
        "a reserved address": address.is_reserved or address in _SIX_TO_FOUR_RELAYS,
        "a private address": address.is_private,
        "an address that is not public": not address.is_global or _outside_unicast(address),
    }
    return next((kind for kind, applies in kinds.items() if applies), None)


def _outside_unicast(address: IPv4Address | IPv6Address) -> bool:
    return isinstance(address, IPv6Address) and (
        address not in _GLOBAL_UNICAST or address in _DOCUMENTATION
    )


def _carried_ipv4(address: IPv6Address) -> Iterable[IPv4Address]:
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if address in _NAT64:
        yield IPv4Address(int(address) & 0xFFFFFFFF)


def _parse_allowed_host(entry: str, setting: str) -> tuple[str, int | None]:
    try:
        return _split_host_and_port(entry)
    except ValueError as error:
        raise ConfigurationError(
            f"Fix {setting}: {entry!r} is neither a host nor host:port ({error}).",
            entry=entry,
        ) from error


def _split_host_and_port(entry: str) -> tuple[str, int | None]:
    if entry.count(":") > 1 and "[" not in entry:
        return normalise_host(entry), None
    parts = urlsplit(f"//{entry}")
    if parts.netloc != entry or "@" in entry:
        raise ValueError("it has more than a host and a port")
    return normalise_host(parts.hostname or ""), parts.port


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
