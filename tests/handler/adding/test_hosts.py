from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from handler.adding.hosts import with_sizes
from handler.adding.models import NamedModel

DIGEST = "c" * 64


class _HuggingFace(BaseHTTPRequestHandler):
    """Answers as Hugging Face does: size and digest stand in the redirect to the bytes."""

    def do_HEAD(self):
        if "gated" in self.path:
            self.send_response(401)
        elif "plain" in self.path:
            self.send_response(200)
            self.send_header("Content-Length", "7")
        else:
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.send_header("X-Linked-Size", "4070000000")
            self.send_header("X-Linked-ETag", f'"{DIGEST}"')
        self.end_headers()

    def log_message(self, *_args):
        pass


@pytest.fixture
def host():
    server = HTTPServer(("127.0.0.1", 0), _HuggingFace)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def described(*urls):
    models, silent = with_sizes([NamedModel("vae", "m.safetensors", url) for url in urls])
    return [(one.size, one.sha256) for one in models], silent


def test_size_and_digest_are_those_that_the_host_tells(host):
    assert described(f"{host}/o/r/resolve/main/m.safetensors") == ([(4070000000, DIGEST)], [])


def test_size_alone_is_taken_where_the_host_tells_no_digest(host):
    assert described(f"{host}/plain") == ([(7, None)], [])


def test_host_that_wants_an_account_was_reached_all_the_same(host):
    assert described(f"{host}/gated") == ([(None, None)], [])


def test_host_that_is_not_reached_is_named_once():
    assert described("http://127.0.0.1:9/a", "http://127.0.0.1:9/b", None) == (
        [(None, None)] * 3,
        ["127.0.0.1:9"],
    )
