"""A stand-in for ComfyUI's server: a ``PromptServer`` that listens nowhere.

It has the routes, hooks and queue that packs expect. Nothing answers at the routes; the queue
shows the job that runs, and takes what its nodes put in.
"""

from __future__ import annotations

import asyncio
import copy
import heapq
import importlib
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from comfyui_runtime.errors import GraphError
from comfyui_runtime.in_process.comfy.lazy_imports import is_pending
from comfyui_runtime.run.messages import parse_message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from comfyui_runtime.run.messages import RunEvent
    from comfyui_runtime.workflow.graph import NodeId

CLIENT_ID = "in-process"
_ONLY = 0


@dataclass(frozen=True)
class QueuedPrompt:
    """A prompt to run.

    Attributes:
        prompt: The graph in API format, validated.
        outputs_to_run: The output nodes to start from.
        extra_data: What nodes are handed beside it; may hold secrets.
    """

    run_id: str
    prompt: dict[str, Any]
    outputs_to_run: list[NodeId]
    extra_data: Mapping[str, Any] = field(default_factory=dict, repr=False)


class RunEvents:
    """What ComfyUI's executor needs of a server: somewhere to send its events.

    Attributes:
        sink: Takes each event of a run; events are dropped without it.
        client_id: Whose run it is; set by the executor, as is the next one.
        last_node_id: The node that runs.
        last_prompt_id: The run.
        number: How many prompts were queued; each has its number.
        sockets_metadata: What each client can read; there are no clients.
        currently_running: The prompt that runs, in the shape of ComfyUI's queue.
        prompt_queue: ComfyUI's queue, once its server is there.
    """

    def __init__(self) -> None:
        self.sink: Callable[[RunEvent], None] | None = None
        self.client_id: str | None = None
        self.last_node_id: str | None = None
        self.last_prompt_id: str | None = None
        self.number = 0
        self.sockets_metadata: dict[str, object] = {}
        self.currently_running: dict[int, tuple[Any, ...]] = {}
        self.prompt_queue: Any = None

    def send_sync(self, event: object, data: object, sid: object = None) -> None:
        """Take a message of the executor's or of a node's; pass on what it says of the run."""
        del sid
        if self.sink is not None and (run_event := parse_message(event, data)) is not None:
            self.sink(run_event)

    def begin_job(self, first: QueuedPrompt) -> None:
        """Show a job's prompt as the one that runs; what earlier jobs left queued is dropped."""
        if self.prompt_queue is not None:
            with self.prompt_queue.mutex:
                self.prompt_queue.queue.clear()
        number, self.number = self.number, self.number + 1
        data = {**first.extra_data, "client_id": CLIENT_ID}
        # Releases that keep secrets apart have a place for them in the queue's entries.
        names = getattr(sys.modules.get("execution"), "SENSITIVE_EXTRA_DATA_KEYS", None)
        secrets = {name: data.pop(name) for name in names or () if name in data}
        item = (number, first.run_id, first.prompt, data, first.outputs_to_run)
        self._show(item if names is None else (*item, secrets))

    def next_prompt(self) -> QueuedPrompt | None:
        """Return what nodes of the job have queued since, and show it as the one that runs.

        A node that works through its input in parts queues its own graph again for the next part.
        """
        self.currently_running.clear()
        if self.prompt_queue is None:
            return None
        with self.prompt_queue.mutex:
            if not self.prompt_queue.queue:
                return None
            item = heapq.heappop(self.prompt_queue.queue)
        self._show(item)
        _, run_id, prompt, data, outputs_to_run, *secrets = item
        return QueuedPrompt(
            str(run_id), prompt, list(outputs_to_run), {**data, **(secrets[0] if secrets else {})}
        )

    def end_job(self) -> None:
        """Show that nothing runs."""
        self.currently_running.clear()

    def _show(self, item: tuple[Any, ...]) -> None:
        self.last_prompt_id = item[1]
        self.currently_running[_ONLY] = copy.deepcopy(item)


def make_server(events: RunEvents) -> None:
    """Build the ``PromptServer`` that node packs expect, listening nowhere. Works once.

    Its events go to ``events`` in place of web sockets: without a reader, ComfyUI's own queue
    would grow with every event. ComfyUI keeps it as ``PromptServer.instance``.
    """
    base: Any = importlib.import_module("server").PromptServer
    if events.prompt_queue is not None:  # executing the module has built it
        return

    class InProcessPromptServer(base):  # type: ignore[misc]
        """ComfyUI's server without sockets."""

        client_id = _held_by(events, "client_id")
        last_node_id = _held_by(events, "last_node_id")
        last_prompt_id = _held_by(events, "last_prompt_id")
        number = _held_by(events, "number")

        def send_sync(self, event: object, data: object, sid: object = None) -> None:
            events.send_sync(event, data, sid)

        def queue_updated(self) -> None:
            pass

    # A run may be under way: the server comes into being when the first node asks for it.
    state = (events.client_id, events.last_node_id, events.last_prompt_id, events.number)
    server = InProcessPromptServer(_running_loop())
    events.client_id, events.last_node_id, events.last_prompt_id, events.number = state
    events.prompt_queue = server.prompt_queue
    server.prompt_queue.currently_running = events.currently_running


def take_prompt(prompt: dict[str, Any]) -> dict[str, Any]:
    """Return a prompt as the packs' on-prompt handlers leave it.

    Without a server, which packs bring into being when they register one, there are none.

    Raises:
        GraphError: A handler returned no prompt.
    """
    if "server" not in sys.modules or is_pending("server"):
        return prompt
    server = getattr(sys.modules["server"].PromptServer, "instance", None)
    if server is None:
        return prompt
    match server.trigger_on_prompt({"prompt": prompt, "client_id": CLIENT_ID}):
        case {"prompt": dict() as taken}:
            return taken
    names = [f"{handler.__module__}.{handler.__qualname__}" for handler in _handlers(server)]
    raise GraphError(
        "A node pack's on-prompt handler took the graph and returned none. These are registered: "
        f"{', '.join(names)}. Update or remove the pack.",
        handlers=list(names),
    )


def _handlers(server: Any) -> list[Any]:  # noqa: ANN401 - a class of ComfyUI's
    return [handler for handler in server.on_prompt_handlers if hasattr(handler, "__qualname__")]


def _held_by(events: RunEvents, name: str) -> property:
    return property(lambda _: getattr(events, name), lambda _, value: setattr(events, name, value))


def _running_loop() -> asyncio.AbstractEventLoop:
    """Return a loop that runs, as the server's does: packs hand it calls from their threads."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="comfyui-server", daemon=True).start()
    return loop
