"""A receiver of webhooks on loopback that verifies what comes with the standard's own library."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr"


@dataclass(frozen=True)
class Delivery:
    message_id: str
    path: str
    body: dict[str, Any]
    at: float


class Receiver:
    """Answers with ``statuses`` in turn, and with the last of them from then on.

    Attributes:
        deliveries: What came, verified; an attempt whose signature is wrong is in ``forged``.
        delay: Seconds until an answer.
        headers: Of every answer.
        answer: Its body.
    """

    def __init__(self, *statuses: int, port: int = 0) -> None:
        self.statuses = list(statuses or (204,))
        self.deliveries: list[Delivery] = []
        self.forged: list[str] = []
        self.delay = 0.0
        self.headers: dict[str, str] = {}
        self.answer = b""
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler_class())
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=hidden-token"

    def wait_for(self, count: int, timeout: float = 20.0) -> list[Delivery]:
        """Return what came, once that many attempts have."""
        with self._changed:
            came = self._changed.wait_for(lambda: len(self.deliveries) >= count, timeout)
        assert came, self.deliveries
        return list(self.deliveries)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler_class(receiver) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                try:
                    said = Webhook(SECRET).verify(body, dict(self.headers))
                except Exception as error:
                    receiver.forged.append(repr(error))
                    raise
                time.sleep(receiver.delay)
                delivery = Delivery(self.headers["webhook-id"], self.path, said, time.monotonic())
                with receiver._changed:
                    receiver.deliveries.append(delivery)
                    left = receiver.statuses
                    status = left.pop(0) if len(left) > 1 else left[0]
                    receiver._changed.notify_all()
                self.send_response(status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(receiver.answer)))
                self.end_headers()
                self.wfile.write(receiver.answer)

            def log_message(self, *args: object) -> None:
                pass

        return Handler
