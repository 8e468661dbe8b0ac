"""The web socket on which a ComfyUI server reports what happens in a run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import websocket
from pydantic import BaseModel, Field, ValidationError

if TYPE_CHECKING:
    from types import TracebackType

    from comfyui_runtime.remote.client import ServerAddress

# Seconds.
_CONNECT_AGAIN_EVERY = 2.0
_CLOSE_WITHIN = 1.0


class _Message(BaseModel):
    type: str
    data: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class ServerMessage:
    """A message: ComfyUI's name for it, and its data."""

    name: str
    data: dict[str, Any]


class ServerSocket:
    """A web socket that may be lost at any time, and is opened again. Use as a context manager.

    Messages that were sent while it was lost never come: a caller that waits for one must ask over
    HTTP too.

    Args:
        client_id: Whose messages to get.
    """

    def __init__(self, address: ServerAddress, client_id: str) -> None:
        scheme, _, rest = address.url.partition("://")
        secure = "wss" if scheme == "https" else "ws"
        self._url = f"{secure}://{rest}/ws?clientId={client_id}"
        self._timeout = address.timeout
        self._socket: websocket.WebSocket | None = None
        self._tried_at = float("-inf")
        self._connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._drop()

    def receive(self, timeout: float) -> ServerMessage | None:
        """Return the next message, or ``None`` if none came within ``timeout`` seconds."""
        if self._socket is None and time.monotonic() - self._tried_at > _CONNECT_AGAIN_EVERY:
            self._connect()
        if self._socket is None:
            time.sleep(timeout)
            return None
        try:
            self._socket.settimeout(timeout)
            text = self._socket.recv()
        except websocket.WebSocketTimeoutException:
            return None
        except (websocket.WebSocketException, OSError):
            self._drop()
            return None
        return _message(text)

    def _connect(self) -> None:
        self._tried_at = time.monotonic()
        try:
            self._socket = websocket.create_connection(self._url, timeout=self._timeout)
        except (websocket.WebSocketException, OSError):
            self._socket = None

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close(timeout=_CLOSE_WITHIN)
            self._socket = None


def _message(text: str | bytes) -> ServerMessage | None:
    """Read a message; previews, which are binary, are left out."""
    if isinstance(text, bytes):
        return None
    try:
        message = _Message.model_validate_json(text)
    except ValidationError:
        return None
    return ServerMessage(message.type, message.data)
