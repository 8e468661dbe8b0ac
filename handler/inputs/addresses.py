"""Which network addresses an input may be fetched from.

A worker sits inside somebody's network, and its inputs' addresses come from outside it: only
public addresses are fetched from, and the hosts that the operator names.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from handler.contract.errors import ConfigurationError
from handler.inputs.urls import normalise_host

if TYPE_CHECKING:
    from collections.abc import Iterable

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


class RefusedAddressError(Exception):
    """A host has an address that must not be fetched from.

    Attributes:
        kind: What the address is, such as "a loopback address". The address itself is left out:
            it would tell a caller what the names of an inner network stand for.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class AddressGuard:
    """Refuses every address that is not public, except for hosts the operator named.

    Args:
        allowed_hosts: Hosts, each as "host" (any port) or "host:port", where host is a name or
            an IP address as URLs spell it; another spelling of the same address is not allowed.

    Raises:
        ConfigurationError: An entry is neither.
    """

    def __init__(self, allowed_hosts: Iterable[str]) -> None:
        self._allowed = frozenset(map(_parse_allowed_host, allowed_hosts))

    def check(self, host: str, port: int, addresses: Iterable[str]) -> None:
        """Return when all addresses of a host may be connected to.

        Args:
            host: The host as the URL names it, normalised.
            port: The port that will be connected to.
            addresses: Every address that the host's name stands for.

        Raises:
            RefusedAddressError: At least one of them is refused.
        """
        if {(host, port), (host, None)} & self._allowed:
            return
        for address in addresses:
            kind = refused_kind(ip_address(address))
            if kind is not None:
                raise RefusedAddressError(kind)


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


def _parse_allowed_host(entry: str) -> tuple[str, int | None]:
    try:
        return _split_host_and_port(entry)
    except ValueError as error:
        raise ConfigurationError(
            f"Fix INPUT_ALLOWED_HOSTS: {entry!r} is neither a host nor host:port ({error}).",
            entry=entry,
        ) from error


def _split_host_and_port(entry: str) -> tuple[str, int | None]:
    if entry.count(":") > 1 and "[" not in entry:
        return normalise_host(entry), None
    parts = urlsplit(f"//{entry}")
    if parts.netloc != entry or "@" in entry:
        raise ValueError("it has more than a host and a port")
    return normalise_host(parts.hostname or ""), parts.port
