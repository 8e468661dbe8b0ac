"""A server on loopback that gives a photo and takes results, each after a delay."""

from __future__ import annotations

import contextlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def slow_server(photo_of: Callable[[int], bytes], delay: float) -> Iterator[str]:
    """Serve ``GET /<number>``, and take any ``PUT`` as an S3 endpoint does.

    Args:
        photo_of: Gives the photo of a number.
        delay: Seconds before each answer.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            time.sleep(delay)
            number = int(self.path.strip("/"))
            self._answer(photo_of(number))

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(delay)
            self._answer(b"")

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("ETag", '"0"')
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
