"""Connections that ask for more than their share: heads, bodies, descriptors, names."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from contextlib import ExitStack

import pytest
from platforms_support.http_server import ENDLESS, error_of, event, wait_until
from pydantic import SecretStr
from time_bounds import SOON

from handler.http.connection import ConnectionLimits

LARGE = "A" * 200_000


def connect(server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def answer_of(connection: socket.socket) -> bytes:
    """Read until the server closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while data := connection.recv(65536):
            received += data
    return received


def pour(connection: socket.socket, piece: bytes, most: int) -> int:
    """Send a piece again and again until the server closes; return the bytes that it took."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < most:
            connection.sendall(piece)
            sent += len(piece)
    return sent


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"GET /health HTTP/1.1\r\nHost: x\r\nX: ", b"a" * 65536),
        (b"GET /health HTTP/1.1\r\nHost: x\r\n", b"X: a\r\n" * 10_000),
        (b"GET /", b"a" * 65536),
        (b"POST /v1/invoke HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"a" * 65536),
        (b"POST /v1/invoke HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a" * 65536),
    ],
    ids=["header", "headers", "address", "trailer", "chunk extension"],
)
@pytest.mark.parametrize("token", [None, SecretStr("long enough")])
@pytest.mark.fault(
    "A request head never ends",
    "it is cut off; others are served",
)
def test_head_that_never_ends_is_cut_off_and_others_are_served(attacked, start, piece, token):
    server = attacked(api_token=token)
    with connect(server) as connection:
        connection.sendall(start)
        assert pour(connection, piece, most=64 * 2**20) < 16 * 2**20
    started = time.monotonic()
    assert server.get("/health").status_code == 200
    assert time.monotonic() - started < SOON


def test_long_head_is_told_what_is_wrong(attacked):
    server = attacked()
    with connect(server) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nX: ")
        for _ in range(3):
            connection.sendall(b"a" * 40_000)
            time.sleep(0.1)
        answer = answer_of(connection)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_head_too_large"


def test_large_body_in_one_piece_is_no_head(attacked):
    server = attacked(boot=True)
    body = json.dumps(event()).encode() + b" " * 2**20
    headers = {"Content-Type": "application/json"}
    assert server.client.post("/v1/invoke", content=body, headers=headers).status_code == 200
    chunks = (body[at : at + 100] for at in range(0, len(body), 100))
    assert server.client.post("/v1/invoke", content=chunks, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("sent", "answered"),
    [(b"", b""), (b"\r\n", b""), (b"GET /health HT", b"HTTP/1.1 408 ")],
    ids=["nothing", "an empty line", "half a line"],
)
def test_silent_connection_is_closed(attacked, sent, answered):
    server = attacked(ConnectionLimits(head_seconds=0.5))
    with connect(server) as connection:
        connection.sendall(sent)
        started = time.monotonic()
        assert answer_of(connection).startswith(answered)
        assert 0.3 < time.monotonic() - started < SOON


def test_slow_head_is_closed_however_often_a_byte_comes(attacked):
    server = attacked(ConnectionLimits(head_seconds=0.5))
    with connect(server) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\n\r\n")
        assert b"200 OK" in connection.recv(65536)
        started = time.monotonic()
        connection.sendall(b"GET / HTTP/1.1\r\nX: ")
        pour_slowly(connection, until=started + 10)
        assert time.monotonic() - started < SOON


def pour_slowly(connection: socket.socket, until: float) -> None:
    with contextlib.suppress(ConnectionError):
        while time.monotonic() < until:
            connection.sendall(b"a")
            time.sleep(0.1)


@pytest.mark.slow
def test_client_that_never_reads_its_answer_is_cut_off(attacked):
    server = attacked(ConnectionLimits(write_seconds=0.5))
    folder = server.service.settings.results_dir
    folder.mkdir()
    (folder / "large.png").write_bytes(bytes(32 * 2**20))
    with connect(server) as connection:
        connection.sendall(b"GET /v1/results/large.png HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(1.5)
        assert len(answer_of(connection)) < 32 * 2**20


@pytest.mark.slow
def test_idle_connection_between_requests_is_kept(attacked):
    """Load balancers keep them for minutes."""
    server = attacked(ConnectionLimits(head_seconds=0.3))
    with connect(server) as connection:
        for _ in range(2):
            connection.sendall(b"GET /health HTTP/1.1\r\n\r\n")
            assert b"200 OK" in connection.recv(65536)
            time.sleep(0.8)


@pytest.mark.fault(
    "Many connections stay silent",
    "nobody is locked out",
)
def test_silent_connections_lock_nobody_out(attacked, caplog):
    server = attacked(ConnectionLimits(connections=40))
    with ExitStack() as silent:
        first = silent.enter_context(connect(server))
        for _ in range(150):
            silent.enter_context(connect(server))
        for _ in range(3):
            assert server.get("/health").status_code == 200
        assert answer_of(first) == b""
    assert "too many connections" in caplog.text
    assert caplog.text.count("too many connections") == 1


@pytest.mark.slow
def test_connection_with_a_request_under_way_outlives_a_flood(attacked):
    server = attacked(ConnectionLimits(connections=20), boot=True)
    job = event("steps", params={"steps": 40, "seconds": 0.05})
    answers = []
    call = threading.Thread(target=lambda: answers.append(server.post("/v1/invoke", job)))
    call.start()
    with ExitStack() as silent:
        for _ in range(100):
            silent.enter_context(connect(server))
        call.join(30)
    assert answers[0].status_code == 200


class TestFullQueue:
    def test_large_body_is_refused_before_it_is_read(self, attacked):
        server = attacked(boot=True, concurrency=1, queue_limit=0)
        server.submit(event("steps", id="one", params=ENDLESS))
        with connect(server) as connection:
            connection.sendall(
                b"POST /v1/invoke HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Content-Length: 50000000\r\n\r\n{"
            )
            head = connection.recv(65536)
        assert head.startswith(b"HTTP/1.1 429 ")
        assert b"\r\nretry-after: " in head
        assert server.metric('comfyui_jobs_total{code="overloaded",workflow="other"}') == 1

    def test_small_event_still_joins_the_same_one_under_way(self, attacked):
        server = attacked(boot=True, concurrency=1, queue_limit=0)
        server.submit(event("steps", id="one", params=ENDLESS))
        server.submit(event("steps", id="one", params=ENDLESS))

    @pytest.mark.fault(
        "Large bodies wait for the start",
        "they are limited in bytes",
    )
    def test_events_that_wait_for_the_start_are_limited_in_bytes(self, attacked):
        server = attacked(queue_max_bytes=450_000)
        threads = [
            threading.Thread(target=server.post, args=("/v1/invoke", event(image=LARGE)))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        wait_until(lambda: server.metric("comfyui_jobs_waiting") == 2)
        refused = error_of(server.post("/v1/invoke", event(image=LARGE)), 429, "overloaded")
        assert "QUEUE_MAX_BYTES" in refused["error"]["message"]
        server.service.stop()
        for thread in threads:
            thread.join(20)
        assert server.service.bodies.held == 0

    def test_bodies_being_read_are_limited_in_bytes(self, attacked):
        server = attacked(requests_max_bytes=1_000_000)
        head = (
            b"POST /v1/invoke HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 900000\r\n\r\n"
        )
        with connect(server) as first, connect(server) as second:
            first.sendall(head + b" " * 800_000)
            wait_until(lambda: server.service.bodies.held >= 800_000)
            second.sendall(head + b" " * 800_000)
            assert second.recv(65536).startswith(b"HTTP/1.1 429 ")
        wait_until(lambda: server.service.bodies.held == 0)

    def test_initializers_take_no_jobs_place(self, attacked):
        server = attacked(concurrency=1, queue_limit=0, boot_timeout=5)
        with ExitStack() as waiting:
            for _ in range(20):
                connection = waiting.enter_context(connect(server))
                connection.sendall(b"POST /initialize HTTP/1.1\r\nHost: x\r\n\r\n")
            wait_until(lambda: server.client.post("/initialize").status_code == 404)
            assert server.metric("comfyui_jobs_waiting") == 0
            job = threading.Thread(target=server.post, args=("/v1/invoke", event()))
            job.start()
            wait_until(lambda: server.metric("comfyui_jobs_waiting") == 1)
            server.service.stop()
            job.join(20)


class TestHostHeader:
    def status(self, server, host: str, path: str = "/v1/workflows") -> int:
        return server.get(path, headers={"Host": host}).status_code

    @pytest.mark.fault(
        "A web page rebinds its name to the service",
        "it is refused",
    )
    def test_name_of_another_site_is_refused_without_a_token(self, attacked):
        server = attacked()
        refused = server.get("/v1/workflows", headers={"Host": "evil.example.com:8000"})
        assert "ALLOWED_HOSTS" in error_of(refused, 421, "forbidden_host")["error"]["message"]
        for host in (
            "127.0.0.1.evil.com",
            "localhost.evil.com",
            "a.b",
            "127.0.0.1.nip.io",
            "evil.",
        ):
            assert self.status(server, host) == (200 if host == "evil." else 421), host

    @pytest.mark.parametrize(
        "host",
        [
            "127.0.0.1:8000",
            "localhost:8000",
            "10.2.3.4:8000",
            "[::1]:8000",
            "[fd00::5]",
            "comfyui:8000",
            "comfyui.default.svc.cluster.local",
            "LOCALHOST",
            "",
        ],
    )
    def test_names_that_public_dns_cannot_give_are_let_in(self, attacked, host):
        assert self.status(attacked(), host) == 200

    def test_names_in_the_settings_are_let_in(self, attacked):
        server = attacked(public_url="https://pictures.example.com/base", allowed_hosts="*.run.app")
        assert self.status(server, "pictures.example.com") == 200
        assert self.status(server, "comfyui-abc.a.run.app") == 200
        assert self.status(server, "run.app") == 421
        assert self.status(attacked(allowed_hosts="*"), "evil.example.com") == 200

    def test_probes_and_requests_with_a_token_come_by_any_name(self, attacked):
        for path in ("/health", "/ready", "/ping"):
            assert self.status(attacked(), "evil.example.com", path) != 421
        guarded = attacked(api_token=SecretStr("long enough"))
        assert self.status(guarded, "evil.example.com") == 401
