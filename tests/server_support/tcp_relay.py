"""A relay between a client and a server on loopback that loses what it is told to lose."""

from __future__ import annotations

import contextlib
import socket
import threading
from urllib.parse import urlsplit


class TcpRelay:
    """Passes bytes on in both directions.

    Attributes:
        url: Where clients connect to.
        silent: Whether bytes of the server's web sockets are thrown away.
        connections: How many web sockets were opened through it.
    """

    def __init__(self, server_url: str) -> None:
        parts = urlsplit(server_url)
        self._server = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.silent = False
        self.connections = 0
        self._web_sockets: list[socket.socket] = []
        self._run(self._accept)

    def cut_web_sockets(self) -> None:
        """Break off every web socket, in the middle of whatever it carries."""
        while self._web_sockets:
            _break_off(self._web_sockets.pop())

    def close(self) -> None:
        """Break off everything and end."""
        _break_off(self._listener)
        for open_socket in self._sockets:
            _break_off(open_socket)
        for thread in self._threads:
            thread.join(10)

    def _run(self, target, *arguments) -> None:
        thread = threading.Thread(target=target, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            self._sockets += [client, server]
            first = client.recv(65536)
            if first.startswith(b"GET /ws"):
                self.connections += 1
                self._web_sockets += [client, server]
            server.sendall(first)
            self._run(self._pass_on, client, server)
            self._run(self._pass_on, server, client)

    def _pass_on(self, source, target) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not (self.silent and target in self._web_sockets):
                    target.sendall(data)
        _break_off(target)


def _break_off(any_socket: socket.socket) -> None:
    with contextlib.suppress(OSError):
        any_socket.shutdown(socket.SHUT_RDWR)
    any_socket.close()
