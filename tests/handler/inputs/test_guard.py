from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.contract.errors import ConfigurationError
from handler.inputs.guard import AddressGuard, RefusedAddressError, refused_kind


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "private"),
        ("10.1.2.3", "private"),
        ("100.64.0.1", "carrier-grade NAT"),
        ("100.100.100.200", "metadata"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("168.63.129.16", "metadata"),
        ("169.254.169.254", "metadata"),
        ("169.254.170.2", "metadata"),
        ("169.254.1.1", "link-local"),
        ("172.16.0.1", "private"),
        ("192.0.2.1", "private"),
        ("192.88.99.1", "reserved"),
        ("192.168.1.1", "private"),
        ("198.18.0.1", "private"),
        ("224.0.0.1", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "reserved"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::127.0.0.1", "reserved"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:169.254.169.254", "metadata"),
        ("::ffff:10.0.0.1", "private"),
        ("64:ff9b::7f00:1", "loopback"),
        ("64:ff9b::a9fe:a9fe", "metadata"),
        ("64:ff9b:1::808:808", ""),
        ("2002:7f00:1::1", "loopback"),
        ("2002:a9fe:a9fe::", "metadata"),
        ("2001:0:808:808:0:0:f5ff:fffe", "private"),  # Teredo, whose client is 10.0.0.1
        ("2001:0:808:808:0:0:f7f7:f7f7", "private"),  # Teredo, of two public addresses
        ("2001:db8::1", "private"),
        ("3fff::1", "not public"),
        ("5f00::1", ""),
        ("fc00::1", "private"),
        ("fd00:ec2::254", "metadata"),
        ("fd20:ce::254", "metadata"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("fec0::1", "not public"),
        ("ff02::1", "multicast"),
    ],
)
def test_an_address_that_is_not_public_is_refused_by_its_kind(address, kind):
    found = refused_kind(ip_address(address))
    assert found is not None
    assert kind in found


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "93.184.215.14",
        "100.63.255.255",
        "172.32.0.1",
        "2606:4700:4700::1111",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2002:808:808::1",
    ],
)
def test_a_public_address_passes(address):
    assert refused_kind(ip_address(address)) is None


@given(st.ip_addresses(v=4))
def test_no_ipv4_address_passes_that_python_calls_not_global(address):
    assert address.is_global or refused_kind(address) is not None


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:0:0", "64:ff9b::"]))
def test_an_ipv4_address_inside_ipv6_is_judged_as_itself(address, prefix):
    inside = IPv6Address(int(IPv6Address(prefix)) | int(address))
    assert refused_kind(inside) == refused_kind(address)


@given(st.ip_addresses(v=4).filter(lambda address: refused_kind(address) is not None))
def test_a_tunnel_to_a_refused_ipv4_address_is_refused(address):
    assert refused_kind(IPv6Address((0x2002 << 112) | (int(address) << 80))) is not None


@given(st.ip_addresses(v=6))
def test_no_ipv6_address_outside_global_unicast_passes(address):
    carries_ipv4 = address.ipv4_mapped or int(address) >> 32 == int(IPv6Address("64:ff9b::")) >> 32
    assert carries_ipv4 or refused_kind(address) is not None or int(address) >> 125 == 1


def check(allowed, host, port=80, addresses=("127.0.0.1",)):
    AddressGuard(allowed).check(host, port, addresses)


@pytest.mark.parametrize(
    ("entry", "host", "port"),
    [
        ("minio", "minio", 9000),
        ("minio:9000", "minio", 9000),
        ("MinIO.:9000", "minio", 9000),
        ("127.0.0.1", "127.0.0.1", 1),
        ("127.0.0.1:1", "127.0.0.1", 1),
        ("::1", "::1", 1),
        ("[::1]", "::1", 1),
        ("[0::1]:1", "::1", 1),
    ],
)
def test_an_allowed_host_may_have_any_address(entry, host, port):
    check({"other", entry}, host, port)


@pytest.mark.parametrize(
    ("entry", "host", "port"),
    [
        ("minio:9000", "minio", 9001),
        ("minio", "sub.minio", 80),
        ("minio", "minio2", 80),
        ("127.0.0.1", "127.0.0.2", 80),
        ("127.0.0.1", "2130706433", 80),
        ("127.0.0.1", "localhost", 80),
        ("[::1]:1", "::1", 2),
    ],
)
def test_another_host_port_or_spelling_is_not_allowed(entry, host, port):
    with pytest.raises(RefusedAddressError):
        check({entry}, host, port)


def test_one_refused_address_among_public_ones_refuses_the_host():
    with pytest.raises(RefusedAddressError) as caught:
        check((), "host", addresses=("8.8.8.8", "10.0.0.1"))
    assert caught.value.kind == "a private address"


@pytest.mark.parametrize(
    "entry", ["http://minio", "minio/path", "user@minio", "minio:port", "a b", "[::1", "a:b:c", ""]
)
def test_an_entry_that_is_no_host_is_a_configuration_error(entry):
    with pytest.raises(ConfigurationError, match="INPUT_ALLOWED_HOSTS"):
        AddressGuard({entry})


def test_both_versions_of_the_protocol_are_judged():
    assert refused_kind(IPv4Address("127.0.0.1")) == refused_kind(IPv6Address("::1"))
