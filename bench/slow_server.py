"""A server on loopback that serves photos and accepts results, each after a delay.

It runs in its own process (``python -m bench.slow_server SIDE DELAY``), so that its memory and
processor time are not counted as the function's.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from bench.own_function import PROJECT
from bench.photos import jpeg, photo

if TYPE_CHECKING:
    from collections.abc import Iterator

_STOP_WITHIN = 10.0
_DIFFERENT_PHOTOS = 100


@contextlib.contextmanager
def slow_server(side: int, delay: float) -> Iterator[str]:
    """Serve ``GET /<number>``, and accept any ``PUT`` as an S3 endpoint does.

    Args:
        side: Width and height of a photo, in pixels.
        delay: Seconds before each answer.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.slow_server", str(side), str(delay)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        if process.stdout is None:
            raise RuntimeError("The server's output is not a pipe.")
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
            process.wait(_STOP_WITHIN)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        number = int(self.path.strip("/")) % _DIFFERENT_PHOTOS
        time.sleep(float(sys.argv[2]))
        self._answer(_photo(int(sys.argv[1]), number))

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(float(sys.argv[2]))
        # S3's ETag of an object that was put in one piece, by which a client knows that it arrived.
        self._answer(b"", hashlib.md5(content, usedforsecurity=False).hexdigest())

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def _answer(self, body: bytes, etag: str = "0") -> None:
        self.send_response(200)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@functools.cache
def _photo(side: int, number: int) -> bytes:
    return jpeg(photo(side, number))


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    for prepared in range(_DIFFERENT_PHOTOS):
        _photo(int(sys.argv[1]), prepared)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
