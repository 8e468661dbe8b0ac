"""Real servers on loopback, and pictures to fetch from them."""

from __future__ import annotations

import contextlib
import io
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpcore
import numpy as np
import pillow_heif
import pytest
from PIL import Image

from comfyui_runtime.run.cancellation import Cancellation
from handler.inputs import InputFetcher
from handler.settings import Settings


@pytest.fixture(scope="session")
def encode():
    """Writes an image file from pixels, or from a Pillow image, and returns its bytes."""
    pillow_heif.register_heif_opener()

    def write(image, image_format="PNG", **options):
        buffer = io.BytesIO()
        if isinstance(image, np.ndarray):
            image = Image.fromarray(image)
        image.save(buffer, image_format, **options)
        return buffer.getvalue()

    return write


@pytest.fixture(scope="session")
def pixels():
    rows, columns = np.mgrid[0:24, 0:32]
    return np.stack([rows * 10, columns * 7, (rows + columns) * 4], axis=-1).astype(np.uint8)


@pytest.fixture(scope="session")
def photo(pixels, encode):
    """The bytes of a PNG file."""
    return encode(pixels)


@dataclass
class Site:
    """A web server whose pages are set by the test.

    Attributes:
        requests: Path and headers of every request so far.
    """

    server: ThreadingHTTPServer
    pages: dict = field(default_factory=dict)
    requests: list = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def port(self):
        return self.server.server_address[1]

    def url(self, path, host="127.0.0.1"):
        return f"http://{host}:{self.port}{path}"

    def page(self, path, body=b"", status=200, **headers):
        """Serve a body; a header's name is written with underscores."""

        def answer(request):
            request.send_response(status)
            for key, value in {"content_length": str(len(body)), **headers}.items():
                request.send_header(key.replace("_", "-"), value)
            request.end_headers()
            request.wfile.write(body)

        self.pages[path] = [answer]

    def redirect(self, path, location, status=302):
        # http.server writes headers in Latin-1; web servers send addresses in UTF-8.
        self.page(path, status=status, location=location.encode().decode("latin-1"))

    def script(self, path, *answers):
        """Serve by functions of the request, one after the other, the last one for good."""
        self.pages[path] = list(answers)

    def drip(self, request, data, interval):
        """Send byte by byte until the reader goes away."""
        for byte in data:
            request.wfile.write(bytes([byte]))
            request.wfile.flush()
            if self.stopping.wait(interval):
                return


@contextlib.contextmanager
def serving(ssl_context=None):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            path = self.path.partition("?")[0]
            site.requests.append((self.path, dict(self.headers)))
            answers = site.pages[path]
            with contextlib.suppress(ConnectionError):
                (answers.pop(0) if len(answers) > 1 else answers[0])(self)
            self.close_connection = True

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if ssl_context is not None:
        server.socket = ssl_context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # a client that refuses the certificate
    site = Site(server)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield site
    finally:
        site.stopping.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def site():
    with serving() as site:
        yield site


@pytest.fixture
def secure_site():
    """Starts a web server with the given TLS context."""
    with contextlib.ExitStack() as running:
        yield lambda ssl_context: running.enter_context(serving(ssl_context))


class LoopbackInternet(httpcore.NetworkBackend):
    """Connects every address to loopback, and remembers which address was asked for."""

    def __init__(self):
        self.connected = []
        self.sockets = []
        self.when_connected = lambda: None

    def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None):
        self.connected.append(host)
        stream = httpcore.SyncBackend().connect_tcp(
            "127.0.0.1", port, timeout, local_address, socket_options
        )
        self.sockets.append(stream.get_extra_info("socket"))
        self.when_connected()
        return stream


@pytest.fixture
def internet():
    return LoopbackInternet()


@pytest.fixture
def make_fetcher(tmp_path, monkeypatch):
    """Makes fetchers with the given settings; 127.0.0.1 is allowed unless said otherwise."""
    monkeypatch.chdir(tmp_path)  # no .env of the developer's

    def make(resolve=None, network=None, **settings):
        settings = {"input_allowed_hosts": {"127.0.0.1"}} | settings
        parts = {"network": network} | ({"resolve": resolve} if resolve else {})
        return InputFetcher(Settings(**settings), **parts)

    return make


@pytest.fixture
def fetch(make_fetcher):
    """Fetches one image named "photo" with a new fetcher of the given settings and parts."""

    def run(source, cancellation=None, **settings):
        return make_fetcher(**settings).fetch("photo", source, cancellation or Cancellation())

    return run
