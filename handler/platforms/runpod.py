"""RunPod: the SDK's worker loop around a job pool.

Sources: the SDK's documentation at docs.runpod.io/serverless/workers and its own modules, release
1.12.0: a handler's ``error`` key makes the job failed, ``refresh_worker`` replaces the worker, and
a job that the endpoint stops has its task cancelled. Limits on a response: "Send API requests" at
docs.runpod.io, read in November 2026; ids of ``/runsync`` begin with ``sync-``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfyui_runtime.errors import ServiceError
from handler.contract.answer import answer_of
from handler.contract.errors import ResponseTooLargeError
from handler.contract.job_id import job_id_of
from handler.contract.response import Failure, failure
from handler.contract.worker_comfyui import shape_of
from handler.job.pool import JobPool
from handler.job.request import refusals_logged
from handler.job.start import start
from handler.liveness import keep_liveness_file
from handler.machine_paths import without_paths
from handler.platforms.runpod_intake import WorkerIntake, paced_scaler
from handler.shelf.s3 import resolve_bucket
from handler.webhooks import open_webhooks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from concurrent.futures import Future

    from handler.contract.job_id import JobId
    from handler.contract.progress import JobProgress
    from handler.contract.response import Response
    from handler.settings import Settings

    SendProgress = Callable[[dict[str, Any], dict[str, Any]], Awaitable[None]]

log = logging.getLogger(__name__)

MOST_BYTES = 10_000_000
MOST_BYTES_SYNC = 20_000_000
# What the SDK puts around an output.
_ENVELOPE_BYTES = 1_000
# What a response has beside its outputs.
_REST_BYTES = 3_000
# Where a serverless worker finds its network volume, which outlives it.
_VOLUME = Path("/runpod-volume")
_PROGRESS_EVERY = 1.0
_LAST_PROGRESS = 5.0


def run_worker(settings: Settings) -> int:
    """Boot once, then take jobs until the platform stops the worker.

    Returns:
        The exit status: 1 if the worker has to be replaced.
    """
    # The SDK's own default writes every output to the log, with the addresses in it.
    os.environ.setdefault("RUNPOD_LOG_LEVEL", os.environ.get("RUNPOD_DEBUG_LEVEL", "INFO"))
    import runpod
    from runpod.serverless.modules import rp_scale
    from runpod.serverless.modules.worker_state import JobsProgress

    keep_liveness_file()
    if settings.serve_api_locally and "--rp_serve_api" not in sys.argv:
        sys.argv += ["--rp_serve_api", "--rp_api_host", "0.0.0.0"]  # noqa: S104 - as asked for
    # Who reaches an endpoint of RunPod's has its key.
    settings = settings.with_trusted_callers()
    most = 1 if settings.refresh_worker else settings.concurrency
    webhooks = open_webhooks(settings)
    intake = WorkerIntake(most)
    pool = JobPool(start(settings), most, webhooks=webhooks)
    worker = Worker(pool, _post_progress, intake)

    def take_no_more() -> bool:
        """Say whether the worker is broken; end it once the SDK has no job any more."""
        if worker.broken and not JobsProgress().get_job_count():
            log.critical("worker is broken and ends")
            os.kill(os.getpid(), signal.SIGTERM)
        return worker.broken

    rp_scale.JobScaler = paced_scaler(intake, take_no_more)
    runpod.serverless.start({"handler": worker.handle})
    if webhooks is not None:
        webhooks.close()
    return 1 if worker.broken else 0


class Worker:
    """Carries out what the SDK takes.

    Args:
        send_progress: Posts a job's progress; called with the job as it was taken.
        intake: Is told of the jobs that the worker has.

    Attributes:
        broken: Whether a job, answered or stopped, left the worker unable to run any other.
    """

    def __init__(
        self, pool: JobPool, send_progress: SendProgress, intake: WorkerIntake | None = None
    ) -> None:
        self.broken = False
        self._intake = intake or WorkerIntake(1)
        self._pool = pool
        self._send_progress = send_progress

    async def handle(self, taken: dict[str, Any]) -> dict[str, Any]:
        """Carry a job out and return what the SDK is to post."""
        # RunPod calls the address that a request to it has here.
        taken = {**taken, "webhook": None}
        job_id = job_id_of(taken)
        body = await self._answer(taken, job_id)
        if self.broken or self._pool.function.settings.refresh_worker:
            body["refresh_worker"] = True
        return body

    async def _answer(self, taken: dict[str, Any], job_id: JobId) -> dict[str, Any]:
        progress = _ProgressPosts(lambda payload: self._send_progress(taken, payload))
        function = self._pool.function
        held = self._intake.begin()
        try:
            with refusals_logged(job_id):
                request = await asyncio.to_thread(function.read, taken, job_id)
                if _keeps_results(function.settings):
                    most = _most_bytes(job_id) - _ENVELOPE_BYTES - _REST_BYTES
                    request = replace(request, inline_max_bytes=most)
                job = self._pool.submit(request, progress)
        except ServiceError as error:
            held.refused()
            refused = failure(job_id, without_paths(error, function.settings))
            return _error(refused.shaped(shape_of(taken)))
        except asyncio.CancelledError:
            held.refused()
            raise
        # Also where nobody waits any more: a job that was stopped may have broken the worker.
        job.future.add_done_callback(self._note_end)
        job.listen(held)
        job.future.add_done_callback(held.ended)
        try:
            response = await asyncio.shield(asyncio.wrap_future(job.future))
        except asyncio.CancelledError:
            job.cancel()
            raise
        finally:
            await progress.end()
        return _body(response, job_id)

    def _note_end(self, future: Future[Response]) -> None:
        response = future.result()
        if isinstance(response, Failure) and response.replace_worker:
            self.broken = True


def _body(response: Response, job_id: JobId) -> dict[str, Any]:
    if isinstance(response, Failure):
        return _error(response)
    body = answer_of(response)
    most = _most_bytes(job_id)
    size = len(json.dumps(body, ensure_ascii=False).encode()) + _ENVELOPE_BYTES
    if size <= most:
        return body
    # The platform would drop it without a word.
    error = ResponseTooLargeError(
        f"The response has {size} bytes, and RunPod passes on at most {most}. Ask for "
        'output.delivery "url" (worker-comfyui\'s events: set BUCKET_ENDPOINT_URL), for a smaller '
        "picture, or for the format jpeg or webp. With a bucket, or RESULTS_DIR on the network "
        "volume, the worker would have stored the result.",
        bytes=size,
        limit=most,
    )
    log.warning("response is too large", extra={"job": job_id, "bytes": size, "limit": most})
    return _error(failure(job_id, error).shaped(response.shape))


def _most_bytes(job_id: JobId) -> int:
    return MOST_BYTES_SYNC if job_id.startswith("sync-") else MOST_BYTES


def _keeps_results(settings: Settings) -> bool:
    """Say whether what is stored outlives the worker: in a bucket, or on the network volume."""
    on_volume = settings.results_dir.resolve().is_relative_to(_VOLUME)
    return on_volume or resolve_bucket(settings) is not None


def _error(failure: Failure) -> dict[str, Any]:
    """Return a failure as the SDK posts it: ``error`` is a text, here JSON, as its own are."""
    if failure.shape != "own":
        return answer_of(failure)
    return {"error": json.dumps(failure.error.model_dump(mode="json"))}


async def _post_progress(taken: dict[str, Any], payload: dict[str, Any]) -> None:
    """Post progress as the SDK's ``progress_update`` does, which cannot be waited for."""
    from runpod.http_client import AsyncClientSession
    from runpod.serverless.modules.rp_http import send_result

    async with AsyncClientSession() as session:
        await send_result(session, {"status": "IN_PROGRESS", "output": payload}, taken)


class _ProgressPosts:
    """Posts a job's progress, at most once a second, one at a time, and nothing after the end.

    Made and ended on the event loop; called on any thread.
    """

    def __init__(self, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._sent_at = time.monotonic()
        self._task: asyncio.Task[None] | None = None
        self._ended = False

    def __call__(self, progress: JobProgress) -> None:
        now = time.monotonic()
        if not self._ended and now - self._sent_at >= _PROGRESS_EVERY:
            self._sent_at = now
            self._loop.call_soon_threadsafe(self._start, progress)

    async def end(self) -> None:
        """Wait for the post under way; give it up after some seconds."""
        self._ended = True
        if self._task is not None and not self._task.done():
            await asyncio.wait({self._task}, timeout=_LAST_PROGRESS)
            self._task.cancel()

    def _start(self, progress: JobProgress) -> None:
        if not self._ended and (self._task is None or self._task.done()):
            self._task = self._loop.create_task(self._post(progress))

    async def _post(self, progress: JobProgress) -> None:
        try:
            await self._send(progress.to_json())
        except Exception:
            log.warning("progress could not be posted", exc_info=True)
