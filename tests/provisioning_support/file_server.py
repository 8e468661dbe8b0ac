from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from provisioning_support.content import sha256

CHUNK = 64 * 1024


@dataclass(frozen=True)
class Request:
    path: str
    start: int
    authorization: str | None


class FileServer:
    """Serves files by range, as model hosts do; can be slow, and can redirect."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.redirect_headers: dict[str, str] = {}
        self.tokens: dict[str, str] = {}
        self.seconds_per_chunk = 0.0
        self.requests: list[Request] = []
        self.bytes_sent = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                outer.answer(self)

            def do_HEAD(self) -> None:
                outer.answer(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )
        self._thread.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def address(self, path: str) -> str:
        return f"http://{self.host}{path}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        authorization = handler.headers.get("Authorization")
        self.requests.append(Request(handler.path, start, authorization))
        needed = self.tokens.get(handler.path)
        if needed and authorization != f"Bearer {needed}":
            self._head(handler, 401, 0)
        elif handler.path in self.redirects:
            headers = {"Location": self.redirects[handler.path], **self.redirect_headers}
            self._head(handler, 302, 0, **headers)
        elif handler.path not in self.files:
            self._head(handler, 404, 0)
        else:
            content = self.files[handler.path]
            tag = f'"{sha256(content)}"'
            if handler.headers.get("If-Range", tag) != tag:
                wanted, start = None, 0
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            status = 206 if wanted else 200
            length = len(content) - start
            self._head(handler, status, length, Content_Range=span, ETag=tag)
            if handler.command == "GET":
                self._body(handler, content[start:])

    def _head(
        self, handler: BaseHTTPRequestHandler, status: int, length: int, **headers: str
    ) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(length))
        handler.send_header("Accept-Ranges", "bytes")
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()

    def _body(self, handler: BaseHTTPRequestHandler, content: bytes) -> None:
        try:
            for offset in range(0, len(content), CHUNK):
                handler.wfile.write(content[offset : offset + CHUNK])
                self.bytes_sent += len(content[offset : offset + CHUNK])
                time.sleep(self.seconds_per_chunk)
        except OSError:
            handler.close_connection = True  # the client was killed, as a test wants
