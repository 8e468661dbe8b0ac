"""Waits for a run on a ComfyUI server to end, even if messages are lost."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from comfyui_runtime.errors import CancelledError, ServerUnreachableError
from comfyui_runtime.run.messages import NodeStarted, StepDone, parse_message

if TYPE_CHECKING:
    from comfyui_runtime.remote.client import RunRecord, ServerClient
    from comfyui_runtime.remote.socket import ServerMessage, ServerSocket
    from comfyui_runtime.run.cancellation import Cancellation
    from comfyui_runtime.run.watch import RunWatch

# How long a request to stop, and the loss of a closing message, can go unnoticed, in seconds.
_LOOK_EVERY = 0.2
_ASK_EVERY = 2.0


@dataclass(frozen=True)
class ServerRun:
    """A queued run and the ways to hear of it."""

    run_id: str
    client: ServerClient
    socket: ServerSocket
    watch: RunWatch


def wait_for_end(run: ServerRun, cancellation: Cancellation, stop_grace: float) -> RunRecord:
    """Return the record of a run once it has ended.

    The socket's closing message is the fast path; the server is also asked over HTTP, so that a
    lost message costs seconds and not the job.

    Args:
        cancellation: Stops the run on the server, on request or when its time is up.
        stop_grace: Seconds that the server has to stop it.

    Raises:
        ServiceError: The run was stopped before it began, or did not stop within the grace period:
            the cancellation's reason.
        ServerUnreachableError: The server does not answer, or no longer knows the run.
    """
    asked_at = time.monotonic()
    while not cancellation.requested:
        message = run.socket.receive(_LOOK_EVERY)
        closing = message is not None and _take(message, run)
        if closing or time.monotonic() - asked_at > _ASK_EVERY:
            record = _ask(run)
            if record is not None:
                return record
            asked_at = time.monotonic()
    return _stop(run, cancellation, time.monotonic() + stop_grace)


def _stop(run: ServerRun, cancellation: Cancellation, give_up_at: float) -> RunRecord:
    while time.monotonic() < give_up_at:
        # Again each time: an interrupt that comes just before the run starts is lost.
        run.client.stop(run.run_id)
        for _ in range(5):
            message = run.socket.receive(_LOOK_EVERY)
            if message is not None and _take(message, run):
                break
        record = run.client.record(run.run_id)
        if record is not None:
            return record
        if not run.client.is_queued(run.run_id):
            break
    cancellation.check()
    raise CancelledError("The job was cancelled.")


def _take(message: ServerMessage, run: ServerRun) -> bool:
    """Hand what a message says to the watch; say whether it is the run's last."""
    if message.data.get("prompt_id") != run.run_id:
        return False
    match parse_message(message.name, message.data):
        case NodeStarted(None):
            return True
        case StepDone(value, total, node_id):
            run.watch.on_step(value, total, None, node_id)
        case None:
            pass
        case event:
            run.watch.on_event(event)
    return False


def _ask(run: ServerRun) -> RunRecord | None:
    # In this order: a run that ends in between is out of the queue and has its record.
    queued = run.client.is_queued(run.run_id)
    record = run.client.record(run.run_id)
    if record is None and not queued:
        raise ServerUnreachableError(
            "The ComfyUI server no longer knows the job: it was restarted, or someone cleared its "
            "queue. Send the job again."
        )
    return record
