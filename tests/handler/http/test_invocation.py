from __future__ import annotations

import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import httpx
import pytest
from PIL import Image
from platforms_support.http_server import (
    ENDLESS,
    PICTURE,
    boot_service,
    error_of,
    event,
    slow,
    wait_until,
)

from handler.contract.response import Success


def read_to_the_end(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(65_536), b""))


def test_event_becomes_a_picture_that_the_server_hands_out(server):
    response = server.post("/v1/invoke", event(id="job-1"))
    assert response.status_code == 200
    body = response.json()
    success = Success.model_validate(body)
    assert (success.job_id, success.workflow) == ("job-1", "invert")
    (output,) = success.outputs
    assert output.url == f"{server.url}/v1/results/job-1/0.png"
    picture = server.get(output.url)
    assert picture.headers["content-type"] == "image/png"
    with Image.open(BytesIO(picture.content)) as image:
        assert image.size == (32, 24)


def test_event_without_an_id_gets_one(server):
    first, second = (server.post("/v1/invoke", event()).json()["job_id"] for _ in range(2))
    assert first
    assert first != second


def test_failing_job_has_the_status_of_its_error(server):
    missing = error_of(server.post("/v1/invoke", event("nowhere", id="x")), 404, "unknown_workflow")
    assert missing["job_id"] == "x"
    failing = error_of(server.post("/v1/invoke", event("fail")), 500, "node_failed")
    assert failing["error"]["details"]["title"] == "Failing"
    error_of(server.post("/v1/invoke", {"input": 5}), 422, "invalid_event")


def test_client_that_goes_away_cancels_its_job(server):
    body = httpx.Request("POST", server.url, json=event("steps", id="gone", params=ENDLESS))
    head = (
        f"POST /v1/invoke HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body.content)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(head.encode() + body.content)
        server.running("gone")
    assert server.ended("gone")["response"]["error"]["code"] == "cancelled"
    assert server.post("/v1/invoke", event()).status_code == 200


def test_job_goes_on_while_one_of_two_clients_waits_for_it(server):
    body = slow(40, id="shared")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(server.post, "/v1/invoke", body)
        server.running("shared")
        impatient = httpx.Timeout(10, read=0.1)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                f"{server.url}/v1/invoke",
                json=body,
                timeout=impatient,
                trust_env=False,
                verify=False,
            )
        assert waiting.result().json()["status"] == "succeeded"


def test_another_event_under_an_id_that_is_under_way_is_refused(server):
    server.submit(slow(1000, id="taken"))
    error_of(server.post("/v1/invoke", event(id="taken")), 409, "job_id_in_use")


def test_full_queue_answers_429_and_takes_jobs_again_later(make_server):
    server = make_server(concurrency=1, queue_limit=1)
    server.submit(slow(1000, id="one"))
    server.submit(event(id="two"))
    refused = server.post("/v1/invoke", event(id="three"))
    assert error_of(refused, 429, "overloaded")["error"]["retryable"] is True
    assert int(refused.headers["retry-after"]) > 0
    server.client.delete("/v1/jobs/one")
    server.ended("two")
    assert server.post("/v1/invoke", event(id="three")).status_code == 200


@pytest.mark.slow
def test_two_hundred_clients_at_once_each_get_an_answer(make_server):
    server = make_server(concurrency=4, queue_limit=20)
    unlimited = httpx.Limits(max_connections=None)
    with (
        httpx.Client(timeout=60, trust_env=False, verify=False, limits=unlimited) as client,
        ThreadPoolExecutor(200) as threads,
    ):

        def call(number: int) -> int:
            body = event(id=f"load-{number}", output={"delivery": "base64"})
            return client.post(f"{server.url}/v1/invoke", json=body).status_code

        statuses = Counter(threads.map(call, range(200)))
    assert set(statuses) <= {200, 429}
    assert statuses.total() == 200
    assert statuses[200] >= 24
    wait_until(lambda: server.metric("comfyui_jobs_running") == 0)
    assert server.post("/v1/invoke", event()).status_code == 200


class TestBeforeTheStartIsDone:
    def test_jobs_wait_for_it(self, make_server, runtime):
        server = make_server(boot=False)
        with ThreadPoolExecutor(2) as threads:
            called = threads.submit(server.post, "/v1/invoke", event(id="early"))
            submitted = threads.submit(server.post, "/v1/jobs", event(id="early-too"))
            wait_until(lambda: server.metric("comfyui_jobs_waiting") == 2)
            assert server.get("/health").status_code == 200
            boot_service(server.service, runtime)
            assert called.result().json()["status"] == "succeeded"
            assert submitted.result().status_code == 202

    @pytest.mark.slow
    def test_only_as_many_wait_as_may(self, make_server):
        server = make_server(boot=False, concurrency=1, queue_limit=0, boot_timeout=2.0)
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(server.post, "/v1/invoke", event())
            wait_until(lambda: server.metric("comfyui_jobs_waiting") == 1)
            error_of(server.post("/v1/invoke", event()), 429, "overloaded")
            late = waiting.result()
        assert error_of(late, 503, "booting")["error"]["retryable"] is True
        assert int(late.headers["retry-after"]) > 0

    def test_stop_hands_waiting_jobs_back(self, make_server):
        server = make_server(boot=False)
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(server.post, "/v1/invoke", event(id="early"))
            wait_until(lambda: server.metric("comfyui_jobs_waiting") == 1)
            server.service.stop()
            assert error_of(waiting.result(), 503, "shutting_down")["job_id"] == "early"


class TestBadRequests:
    def test_malformed_json(self, server):
        for content in (b"{", b"", b'{"input": NaN}', b"\xff\xfe", b"[" * 100_000):
            response = server.client.post(
                "/v1/invoke", content=content, headers={"Content-Type": "application/json"}
            )
            error_of(response, 400, "malformed_json")

    def test_wrong_content_type(self, server):
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
            response = server.client.post(
                "/v1/invoke", content=b"{}", headers={"Content-Type": kind}
            )
            error_of(response, 415, "unsupported_media_type")
        packed = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        response = server.client.post("/v1/invoke", content=b"{}", headers=packed)
        error_of(response, 415, "unsupported_media_type")

    def test_too_large_is_refused_by_its_declared_length_before_it_is_sent(self, server):
        head = (
            "POST /v1/invoke HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            "Content-Type: application/json\r\nContent-Length: 9999999999\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(head.encode())
            answer = read_to_the_end(client)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b'"request_too_large"' in answer

    def test_too_large_without_a_length_is_refused_on_the_way(self, make_server):
        server = make_server(request_max_bytes=100_000)
        head = (
            "POST /v1/invoke HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        chunk = b"C350\r\n" + b" " * 50_000 + b"\r\n"
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(head.encode() + chunk * 2)
            client.settimeout(0.3)
            with pytest.raises(TimeoutError):
                client.recv(1)
            client.settimeout(10)
            # One byte too many; the body's end is never sent.
            client.sendall(b"1\r\n \r\n")
            answer = read_to_the_end(client)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b'"request_too_large"' in answer

    def test_body_that_stops_coming_is_given_up(self, server, monkeypatch):
        monkeypatch.setattr("handler.http.body._IDLE_SECONDS", 0.2)
        head = (
            "POST /v1/invoke HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(head.encode())
            answer = read_to_the_end(client)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'"slow_request"' in answer

    def test_unknown_address_and_method(self, server):
        error_of(server.get("/v1/nothing"), 404, "not_found")
        wrong = server.get("/v1/invoke")
        assert "POST" in error_of(wrong, 405, "method_not_allowed")["error"]["message"]
        assert wrong.headers["allow"] == "POST"

    def test_image_bytes_are_not_repeated(self, server):
        response = server.post("/v1/invoke", {"input": {"workflow": 7, "image": PICTURE}})
        assert PICTURE not in response.text
