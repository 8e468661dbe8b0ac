"""RunPod: the SDK's worker loop around ``invoke``.

Sources: the SDK's documentation at docs.runpod.io/serverless/workers and its own modules, release
1.12.0: a handler's ``error`` key makes the job failed, ``refresh_worker`` replaces the worker, and
a job that the endpoint stops has its task cancelled.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

from comfyui_runtime.errors import ServiceError
from handler.contract.response import Failure, failure
from handler.heartbeat import start_heartbeat
from handler.job.pool import JobPool
from handler.job.request import job_id_of
from handler.job.start import start

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from handler.contract.progress import JobProgress
    from handler.settings import Settings

_PROGRESS_EVERY = 1.0


def run_worker(settings: Settings) -> None:
    """Boot once, then take jobs until the platform stops the worker."""
    import runpod

    start_heartbeat()
    pool = JobPool(start(settings), settings.concurrency)
    runpod.serverless.start(
        {
            "handler": make_handler(pool, runpod.serverless.progress_update),
            "concurrency_modifier": lambda _current: settings.concurrency,
        }
    )


def make_handler(
    pool: JobPool, send_progress: Callable[[dict[str, Any], Any], None]
) -> Callable[[dict[str, Any]], Coroutine[Any, Any, dict[str, Any]]]:
    """Return the SDK's handler.

    Args:
        send_progress: ``runpod.serverless.progress_update``; it sends from a thread of its own.
    """

    async def handle(taken: dict[str, Any]) -> dict[str, Any]:
        progress = _Throttled(lambda payload: send_progress(taken, payload))
        try:
            job = pool.submit(taken, progress)
        except ServiceError as error:
            return _error(failure(job_id_of(taken), error))
        try:
            response = await asyncio.shield(asyncio.wrap_future(job.future))
        except asyncio.CancelledError:
            job.cancel()
            raise
        if isinstance(response, Failure):
            return _error(response)
        return response.to_json()

    return handle


def _error(failure: Failure) -> dict[str, Any]:
    """Return a failure as the SDK posts it: ``error`` is a text, here JSON, as its own are."""
    body: dict[str, Any] = {"error": json.dumps(failure.error.model_dump(mode="json"))}
    if failure.replace_worker:
        body["refresh_worker"] = True
    return body


class _Throttled:
    """Passes progress on at most once a second: each update is a request to the platform."""

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self._send = send
        self._sent_at = time.monotonic()

    def __call__(self, progress: JobProgress) -> None:
        now = time.monotonic()
        if now - self._sent_at >= _PROGRESS_EVERY:
            self._sent_at = now
            self._send(progress.to_json())
