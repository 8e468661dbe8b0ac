from __future__ import annotations

import threading
import time

import pytest

from comfyui_runtime.cancellation import Cancellation
from comfyui_runtime.errors import CancelledError, DeadlineError
from handler.errors import (
    ConfigurationError,
    FetchError,
    FetchUnavailableError,
    ForbiddenAddressError,
    InputError,
    InputTooLargeError,
    NotAnImageError,
)
from handler.inputs import http

PUBLIC = "93.184.215.14"


@pytest.fixture
def quick_retries(monkeypatch):
    monkeypatch.setattr(http, "RETRY_PAUSES", (0.01, 0.01))


def cancel_after(seconds):
    cancellation = Cancellation()
    threading.Timer(seconds, cancellation.cancel).start()
    return cancellation


# What arrives


def test_a_picture_is_fetched_pixel_for_pixel(fetch, site, photo, pixels):
    site.page("/photo.png", photo)
    assert (fetch(site.url("/photo.png")).pixels == pixels).all()


def test_the_request_names_the_host_as_given_and_asks_for_plain_bytes(fetch, site, photo):
    site.page("/a%20b", photo)
    fetch(site.url("/a b?sign=%2B&é"))
    ((path, headers),) = site.requests
    assert path == "/a%20b?sign=%2B&%C3%A9"
    assert headers["Host"] == f"127.0.0.1:{site.port}"
    assert headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("content_type", ["text/html", "application/json", "nonsense"])
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


def test_several_threads_fetch_at_once_and_each_gets_its_own(make_fetcher, site):
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    from tests_inputs_images import encode

    for shade in range(8):
        site.page(f"/{shade}", encode(np.full((4, 4, 3), shade * 10, np.uint8)))
    fetcher = make_fetcher()
    with ThreadPoolExecutor(8) as threads:
        images = list(
            threads.map(
                lambda shade: fetcher.fetch("photo", site.url(f"/{shade}"), Cancellation()),
                range(8),
            )
        )
    assert [int(image.pixels[0, 0, 0]) for image in images] == [s * 10 for s in range(8)]
