"""Addresses inside the worker's network, in spellings drawn at random: none is connected to."""

from __future__ import annotations

import random
from ipaddress import IPv4Network

import httpcore
import pytest
from abuse_counts import FACTOR, SEED

from comfyui_runtime.run.cancellation import Cancellation
from handler.contract.errors import InputError
from handler.inputs import InputFetcher
from handler.settings import Settings

TRIES_PER_NETWORK = 30 * FACTOR
INNER = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "169.254.169.254/32",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "224.0.0.0/4",
)


class NoNetwork(httpcore.NetworkBackend):
    """Notes what it is told to connect to, and does not."""

    def __init__(self):
        self.connected = []

    def connect_tcp(self, host, *_args, **_more):
        self.connected.append(host)
        raise httpcore.ConnectError(host)


def spelling(value: int, rng: random.Random) -> str:
    a, b, c, d = value.to_bytes(4)
    return rng.choice(
        (
            f"{a}.{b}.{c}.{d}",
            f"{a}.{b}.{c}.{d}.",
            f"{value}",
            f"{value:#x}",
            f"0{value:o}",
            f"{a:#x}.{b:#x}.{c:#x}.{d:#x}",
            f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
            f"{a}.{value & 0xFFFFFF}",
            f"{a}.{b}.{value & 0xFFFF}",
            f"[::ffff:{a}.{b}.{c}.{d}]",
            f"[::ffff:{value >> 16:x}:{value & 0xFFFF:x}]",
            f"[64:ff9b::{value >> 16:x}:{value & 0xFFFF:x}]",
            f"[2002:{value >> 16:x}:{value & 0xFFFF:x}::1]",
            f"example.com@{a}.{b}.{c}.{d}",
            f"{a}.{b}.{c}.{d}%2f@example.com",
            f"{a}.{b}.{c}.{d}\\@example.com",
        )
    )


@pytest.mark.timeout(300 * FACTOR)
@pytest.mark.parametrize("network", INNER)
@pytest.mark.parametrize("named", [False, True], ids=["address", "name"])
@pytest.mark.fault(
    "An image address leads into the worker's network",
    "it is never connected to",
)
def test_inner_address_is_never_connected_to(network, named):
    rng = random.Random(f"{SEED} {network}")
    inner = IPv4Network(network)
    connections = NoNetwork()
    for _ in range(TRIES_PER_NETWORK):
        address = inner[rng.randrange(inner.num_addresses)]
        host = "photos.example.com" if named else spelling(int(address), rng)
        # A name's address comes from a resolver; any other host is judged without one.
        more = {"resolve": lambda _host, _port, found=str(address): [found]} if named else {}
        fetcher = InputFetcher(Settings(), network=connections, **more)
        with pytest.raises(InputError):
            fetcher.fetch("photo", f"http://{host}/photo.png", Cancellation())
    assert connections.connected == []


def test_public_address_is_connected_to():
    connections = NoNetwork()
    fetcher = InputFetcher(Settings(), network=connections)
    with pytest.raises(InputError):
        fetcher.fetch("photo", "http://93.184.215.14/photo.png", Cancellation())
    assert set(connections.connected) == {"93.184.215.14"}
