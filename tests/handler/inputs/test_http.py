from __future__ import annotations

import gc
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from time_bounds import SOON

from comfyui_runtime.errors import CancelledError, DeadlineError
from comfyui_runtime.run.cancellation import Cancellation
from handler.contract.errors import (
    ConfigurationError,
    FetchError,
    FetchUnavailableError,
    ForbiddenAddressError,
    InputError,
    InputTooLargeError,
    NotAnImageError,
)
from handler.inputs import http


@pytest.fixture
def quick_retries(monkeypatch):
    monkeypatch.setattr(http, "RETRY_PAUSES", (0.01, 0.01))


@pytest.fixture
def cancelled_soon():
    """A job that is cancelled while its input is fetched."""
    cancellation = Cancellation()
    timer = threading.Timer(0.15, cancellation.cancel)
    timer.start()
    yield cancellation
    timer.join()


@pytest.fixture
def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_a_picture_arrives_pixel_for_pixel(fetch, site, photo, pixels):
    site.page("/photo.png", photo)
    assert (fetch(site.url("/photo.png")).pixels == pixels).all()


def test_the_request_carries_host_and_target_as_given_and_asks_for_plain_bytes(fetch, site, photo):
    site.page("/a%20b", photo)
    fetch(site.url("/a b?sign=%2B&é"))
    ((target, headers),) = site.requests
    assert target == "/a%20b?sign=%2B&%C3%A9"
    assert headers["Host"] == f"127.0.0.1:{site.port}"
    assert headers["Accept-Encoding"] == "identity"


def test_a_body_in_chunks_without_a_length_arrives(fetch, site, photo):
    def answer(request):
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        for part in (photo[:50], photo[50:]):
            request.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
        request.wfile.write(b"0\r\n\r\n")

    site.script("/photo", answer)
    assert fetch(site.url("/photo")).width == 32


@pytest.mark.parametrize("content_type", ["text/html", "nonsense"])
def test_a_content_type_that_lies_does_not_matter(fetch, site, photo, content_type):
    site.page("/photo.html", photo, content_type=content_type)
    assert fetch(site.url("/photo.html")).width == 32


def test_html_named_png_is_not_an_image(fetch, site):
    site.page("/photo.png", b"<!doctype html><title>Sign in</title>", content_type="image/png")
    with pytest.raises(NotAnImageError, match="HTML page"):
        fetch(site.url("/photo.png"))


def test_proxies_of_the_environment_are_not_used(fetch, site, photo, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    site.page("/photo.png", photo)
    assert fetch(site.url("/photo.png")).height == 24


def test_threads_that_fetch_at_once_each_get_their_own(make_fetcher, site, encode):
    for shade in range(16):
        site.page(f"/{shade}", encode(np.full((4, 4, 3), shade * 10, np.uint8)))
    fetcher = make_fetcher()

    def fetch_shade(shade):
        image = fetcher.fetch("photo", site.url(f"/{shade}"), Cancellation())
        return int(image.pixels[0, 0, 0])

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(fetch_shade, range(16))) == [shade * 10 for shade in range(16)]


def test_nothing_stays_open_after_success_redirect_or_failure(fetch, site, photo, quick_retries):
    site.page("/photo", photo)
    site.redirect("/moved", "/photo")
    site.page("/busy", status=503)
    site.page("/huge", b"x" * 100_000)

    def open_files():
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    before = open_files()
    fetch(site.url("/photo"))
    fetch(site.url("/moved"))
    for path in ("/busy", "/huge"):
        with pytest.raises(InputError):
            fetch(site.url(path), input_max_bytes=1000)
    gc.collect()
    while open_files() > before:  # the server closes its ends in its own time
        time.sleep(0.01)


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(fetch, site, photo, status):
    site.page("/a/start", status=status, location="../b?c=d")
    site.page("/b", photo)
    assert fetch(site.url("/a/start")).width == 32
    assert [target for target, _ in site.requests] == ["/a/start", "/b?c=d"]


def test_as_many_redirects_as_allowed_are_followed_and_no_more(fetch, site, photo):
    for hop in range(3):
        site.redirect(f"/{hop}", f"/{hop + 1}")
    site.page("/3", photo)
    assert fetch(site.url("/0"), input_max_redirects=3).width == 32
    with pytest.raises(FetchError, match="INPUT_MAX_REDIRECTS") as caught:
        fetch(site.url("/0"), input_max_redirects=2)
    assert not caught.value.retryable


def test_a_redirect_that_leads_nowhere_is_a_fetch_error(fetch, site):
    site.page("/lost", status=302)
    with pytest.raises(FetchError, match="302"):
        fetch(site.url("/lost"))


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://127.0.0.1/", "http://user:pw@127.0.0.1/", "http://["]
)
def test_a_redirect_to_anything_but_a_plain_web_address_is_not_followed(fetch, site, location):
    site.redirect("/photo", location)
    with pytest.raises(FetchError, match="redirects to an address that is not followed"):
        fetch(site.url("/photo"))


INNER_ADDRESSES = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "017700000001",
    "127.0.0.2",
    "0.0.0.0",
    "10.0.0.1",
    "192.168.0.1",
    "169.254.169.254",
    "2852039166",  # 169.254.169.254
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:a9fe:a9fe]",
    "[fd00:ec2::254]",
    "①②⑦.⓪.⓪.①",
]


@pytest.mark.parametrize("host", INNER_ADDRESSES)
@pytest.mark.fault(
    "A redirect leads into the worker's network",
    "it is refused in every spelling",
)
def test_a_redirect_to_an_inner_address_is_refused_in_every_spelling(fetch, site, host, internet):
    site.redirect("/photo", f"http://{host}:{site.port}/secret?token=t")
    with pytest.raises(ForbiddenAddressError, match="INPUT_ALLOWED_HOSTS") as caught:
        fetch(
            site.url("/photo", "localhost"),
            input_allowed_hosts={f"localhost:{site.port}"},
            network=internet,
        )
    assert [target for target, _ in site.requests] == ["/photo"]
    assert internet.connected == ["127.0.0.1"]
    assert "token" not in caught.value.message
    assert caught.value.details["image"] == "photo"


def test_a_redirect_to_another_port_of_an_allowed_host_is_refused(fetch, site):
    site.redirect("/photo", "http://localhost:1/")
    with pytest.raises(ForbiddenAddressError):
        fetch(site.url("/photo", "localhost"), input_allowed_hosts={f"localhost:{site.port}"})


@pytest.mark.parametrize("host", INNER_ADDRESSES)
def test_an_inner_address_is_refused_in_every_spelling(fetch, site, host, internet):
    with pytest.raises(ForbiddenAddressError, match="must not fetch from"):
        fetch(site.url("/", host), input_allowed_hosts=(), network=internet)
    assert internet.connected == []


# Names


class Names:
    """A name server that gives its answers in turn, the last one for good."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.questions = []

    def __call__(self, host, port):
        self.questions.append((host, port))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def test_the_address_that_was_checked_is_the_one_connected_to(fetch, site, photo, internet):
    names = Names(["93.184.215.14"], ["127.0.0.1"])
    site.page("/photo", photo)
    assert fetch(site.url("/photo", "rebinding.test"), resolve=names, network=internet).width == 32
    assert names.questions == [("rebinding.test", site.port)]
    assert internet.connected == ["93.184.215.14"]
    assert site.requests[0][1]["Host"] == f"rebinding.test:{site.port}"


@pytest.mark.fault(
    "A name changes its address between two hops",
    "it is refused",
)
def test_a_name_that_turns_to_loopback_between_two_hops_is_refused(fetch, site, internet):
    names = Names(["93.184.215.14"], ["127.0.0.1"])
    site.redirect("/photo", "/photo2")
    with pytest.raises(ForbiddenAddressError, match="loopback"):
        fetch(site.url("/photo", "rebinding.test"), resolve=names, network=internet)
    assert internet.connected == ["93.184.215.14"]


def test_a_name_that_turns_to_loopback_between_two_attempts_is_refused(
    fetch, site, internet, quick_retries
):
    names = Names(["93.184.215.14"], ["127.0.0.1"])
    site.page("/photo", status=503)
    with pytest.raises(ForbiddenAddressError, match="loopback"):
        fetch(site.url("/photo", "rebinding.test"), resolve=names, network=internet)
    assert internet.connected == ["93.184.215.14"]


def test_one_inner_address_among_public_ones_refuses_the_name(fetch, internet):
    names = Names(["93.184.215.14", "10.0.0.1"])
    with pytest.raises(ForbiddenAddressError, match="private") as caught:
        fetch("http://mixed.test/", resolve=names, network=internet)
    assert internet.connected == []
    assert "10.0.0.1" not in caught.value.message


def test_the_next_address_is_tried_when_one_does_not_answer(fetch, site, photo):
    site.page("/photo", photo)
    names = Names(["127.0.0.3", "127.0.0.1"])  # the site listens on the second alone
    allowed = {"two.test"}
    assert fetch(site.url("/photo", "two.test"), resolve=names, input_allowed_hosts=allowed)
    assert len(names.questions) == 1


def test_an_unknown_name_is_unavailable_and_named(fetch):
    with pytest.raises(FetchUnavailableError, match=r"'nowhere\.invalid'") as caught:
        fetch("http://nowhere.invalid/photo.png?signature=abc")
    assert caught.value.details == {
        "image": "photo",
        "url": "http://nowhere.invalid/photo.png",
        "host": "nowhere.invalid",
    }


def test_a_name_without_addresses_is_unavailable(fetch):
    with pytest.raises(FetchUnavailableError, match="could not be resolved"):
        fetch("http://empty.test/", resolve=Names([]))


def test_a_name_server_that_is_away_for_a_moment_is_asked_again(fetch, site, photo, quick_retries):
    failures = [socket.gaierror(socket.EAI_AGAIN, "try again")]

    def resolve(host, port):
        if failures:
            raise failures.pop()
        return ["127.0.0.1"]

    site.page("/photo", photo)
    assert fetch(site.url("/photo"), resolve=resolve).width == 32


def test_a_name_server_that_never_answers_does_not_outlast_the_time_limit(fetch):
    answered = threading.Event()

    def resolve(host, port):
        answered.wait(10)
        return ["93.184.215.14"]

    started = time.monotonic()
    with pytest.raises(FetchUnavailableError, match="INPUT_TIMEOUT_SECONDS"):
        fetch("http://slow.test/", resolve=resolve, input_timeout=0.2)
    assert time.monotonic() - started < SOON
    answered.set()


def test_an_allowed_host_that_is_none_is_refused_at_the_start(make_fetcher):
    with pytest.raises(ConfigurationError, match="INPUT_ALLOWED_HOSTS"):
        make_fetcher(input_allowed_hosts={"http://minio:9000"})


# Size


def test_a_body_announced_too_long_is_refused_before_it_is_read(fetch, site):
    def announce(request):
        request.send_response(200)
        request.send_header("Content-Length", str(10**12))
        request.end_headers()
        site.stopping.wait(10)

    site.script("/huge", announce)
    started = time.monotonic()
    with pytest.raises(InputTooLargeError, match="INPUT_MAX_BYTES"):
        fetch(site.url("/huge"))
    assert time.monotonic() - started < SOON


def test_an_endless_body_is_refused_once_it_is_too_long(fetch, site):
    sent = []

    def flood(request):
        request.send_response(200)
        request.end_headers()
        while not site.stopping.is_set():
            request.wfile.write(b"x" * 65536)
            sent.append(65536)

    site.script("/endless", flood)
    with pytest.raises(InputTooLargeError) as caught:
        fetch(site.url("/endless"), input_max_bytes=200_000)
    assert caught.value.details["max_bytes"] == 200_000
    assert sum(sent) < 20_000_000  # what the socket's buffers hold, not more and more


def test_a_body_of_just_the_limit_passes(fetch, site, photo):
    site.page("/photo", photo)
    assert fetch(site.url("/photo"), input_max_bytes=len(photo)).width == 32
    with pytest.raises(InputTooLargeError):
        fetch(site.url("/photo"), input_max_bytes=len(photo) - 1)


# Time


def test_a_body_that_drips_ends_with_the_time_limit(fetch, site, photo):
    def drip(request):
        request.send_response(200)
        request.end_headers()
        site.drip(request, photo * 100, 0.02)

    site.script("/photo", drip)
    started = time.monotonic()
    with pytest.raises(FetchUnavailableError, match=r"within 0\.4 s") as caught:
        fetch(site.url("/photo"), input_timeout=0.4)
    assert 0.4 <= time.monotonic() - started < SOON
    assert caught.value.retryable


def test_headers_that_drip_end_with_the_time_limit(fetch, site):
    site.script("/photo", lambda request: site.drip(request, b"HTTP/1.1 200 " + b"O" * 999, 0.02))
    started = time.monotonic()
    with pytest.raises(FetchUnavailableError, match="INPUT_TIMEOUT_SECONDS"):
        fetch(site.url("/photo"), input_timeout=0.4)
    assert time.monotonic() - started < SOON


def test_a_server_that_falls_silent_is_given_up_before_the_time_limit(fetch, site, monkeypatch):
    monkeypatch.setitem(http._TIMEOUTS, "read", 0.2)
    site.script("/photo", lambda _: site.stopping.wait(10))
    started = time.monotonic()
    with pytest.raises(FetchUnavailableError, match="stopped answering"):
        fetch(site.url("/photo"))
    assert time.monotonic() - started < SOON


def test_a_cancelled_job_stops_waiting_for_its_input(fetch, site, cancelled_soon):
    site.script("/photo", lambda _: site.stopping.wait(10))
    started = time.monotonic()
    with pytest.raises(CancelledError):
        fetch(site.url("/photo"), cancelled_soon)
    assert time.monotonic() - started < SOON


def test_a_cancelled_job_stops_waiting_for_a_name_server(fetch, cancelled_soon):
    answered = threading.Event()

    def resolve(host, port):
        answered.wait(10)
        return ["93.184.215.14"]

    started = time.monotonic()
    with pytest.raises(CancelledError):
        fetch("http://slow.test/", cancelled_soon, resolve=resolve)
    assert time.monotonic() - started < SOON
    answered.set()


def test_a_cancelled_job_fetches_nothing(fetch, site, photo):
    site.page("/photo", photo)
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(CancelledError):
        fetch(site.url("/photo"), cancellation)
    assert site.requests == []


def test_a_job_out_of_time_stops_waiting_for_its_input(fetch, site):
    site.script("/photo", lambda _: site.stopping.wait(10))
    with pytest.raises(DeadlineError):
        fetch(site.url("/photo"), Cancellation(timeout=0.2))


# Failures, and attempts after them


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 204, 206, 304])
def test_an_answer_that_will_stay_is_reported_at_once(fetch, site, status):
    site.page("/photo", status=status)
    with pytest.raises(FetchError, match=f"status {status}") as caught:
        fetch(site.url("/photo?signature=abc"))
    assert not caught.value.retryable
    assert "signature" not in caught.value.message
    assert caught.value.details["status"] == status
    assert len(site.requests) == 1


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_server_that_fails_for_a_while_is_asked_three_times(fetch, site, status, quick_retries):
    site.page("/photo", status=status)
    with pytest.raises(FetchUnavailableError, match=f"status {status}") as caught:
        fetch(site.url("/photo"))
    assert caught.value.retryable
    assert len(site.requests) == 3


@pytest.mark.parametrize("status", [500, 408])
def test_a_failure_of_the_server_may_be_sent_again_by_the_caller(fetch, site, status):
    site.page("/photo", status=status)
    with pytest.raises(FetchUnavailableError):
        fetch(site.url("/photo"))
    assert len(site.requests) == 1


@pytest.mark.slow
def test_a_server_that_recovers_is_not_an_error(fetch, site, photo, caplog):
    caplog.set_level("INFO", logger="handler.inputs.http")
    site.page("/photo", photo)
    site.script(
        "/photo",
        lambda request: request.send_error(503),
        lambda request: request.connection.shutdown(socket.SHUT_RDWR),
        site.pages["/photo"][0],
    )
    started = time.monotonic()
    assert fetch(site.url("/photo?signature=abc")).width == 32
    assert time.monotonic() - started >= sum(http.RETRY_PAUSES)
    assert [record.getMessage() for record in caplog.records] == ["input_fetch_retried"] * 2
    assert not any("signature" in str(vars(record)) for record in caplog.records)


def test_no_further_attempt_is_made_when_the_time_is_nearly_up(fetch, site):
    site.page("/photo", status=503)
    with pytest.raises(FetchUnavailableError, match="status 503"):
        fetch(site.url("/photo"), input_timeout=http.RETRY_PAUSES[0])
    assert len(site.requests) == 1


def test_a_body_that_breaks_off_is_fetched_again(fetch, site, photo):
    def break_off(request):
        request.send_response(200)
        request.send_header("Content-Length", str(len(photo)))
        request.end_headers()
        request.wfile.write(photo[:-10])

    site.page("/photo", photo)
    site.script("/photo", break_off, site.pages["/photo"][0])
    assert fetch(site.url("/photo")).width == 32


def test_a_server_that_does_not_speak_http_is_unavailable(fetch, site, quick_retries):
    site.script("/photo", lambda request: request.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"))
    with pytest.raises(FetchUnavailableError, match="did not answer in HTTP"):
        fetch(site.url("/photo"))


def test_a_port_that_nobody_listens_on_is_unavailable(fetch, closed_port, quick_retries):
    with pytest.raises(FetchUnavailableError, match=f"nothing answers at 127.0.0.1:{closed_port}"):
        fetch(f"http://127.0.0.1:{closed_port}/photo.png")


@pytest.mark.parametrize("url", ["http://user:pw@127.0.0.1/", "http://", "https://a..b/"])
def test_a_url_that_is_not_acceptable_is_an_input_error(fetch, url):
    with pytest.raises(InputError, match="fix its URL") as caught:
        fetch(url)
    assert caught.value.code == "invalid_input"
    assert "pw" not in caught.value.message
