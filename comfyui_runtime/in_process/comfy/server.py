"""A stand-in for ComfyUI's server: a ``PromptServer`` that listens nowhere."""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING, Any

from comfyui_runtime.run.messages import parse_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from comfyui_runtime.run.messages import RunEvent


class RunEvents:
    """What ComfyUI's executor needs of a server: somewhere to send its events.

    Attributes:
        sink: Takes each event of a run; events are dropped without it.
        client_id: Whose run it is; set by the executor, as is the next one.
        last_node_id: The node that runs.
        sockets_metadata: What each client can read; there are no clients.
    """

    def __init__(self) -> None:
        self.sink: Callable[[RunEvent], None] | None = None
        self.client_id: str | None = None
        self.last_node_id: str | None = None
        self.sockets_metadata: dict[str, object] = {}

    def send_sync(self, event: object, data: object, sid: object = None) -> None:
        """Take a message of the executor's or of a node's; pass on what it says of the run."""
        del sid
        if self.sink is not None and (run_event := parse_message(event, data)) is not None:
            self.sink(run_event)


def make_server(events: RunEvents) -> None:
    """Build the ``PromptServer`` that node packs expect, listening nowhere.

    Its events go to ``events`` in place of web sockets: without a reader, ComfyUI's own queue
    would grow with every event. ComfyUI keeps it as ``PromptServer.instance``.
    """
    base: Any = importlib.import_module("server").PromptServer

    class InProcessPromptServer(base):  # type: ignore[misc]
        """ComfyUI's server without sockets."""

        @property
        def client_id(self) -> str | None:
            return events.client_id

        @client_id.setter
        def client_id(self, value: str | None) -> None:
            events.client_id = value

        @property
        def last_node_id(self) -> str | None:
            return events.last_node_id

        @last_node_id.setter
        def last_node_id(self, value: str | None) -> None:
            events.last_node_id = value

        def send_sync(self, event: object, data: object, sid: object = None) -> None:
            events.send_sync(event, data, sid)

        def queue_updated(self) -> None:
            pass

    loop = asyncio.new_event_loop()
    loop.close()
    InProcessPromptServer(loop)
