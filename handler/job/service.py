"""Jobs as a server has them: taken before the start is done, followed, found again, handed back.

Its callers speak HTTP, or are methods of a container of Modal's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from comfyui_runtime.errors import ServiceError
from comfyui_runtime.run.runtime import LoadedModels
from comfyui_runtime.workflow.manifest import workflow_names
from handler.contract.errors import BootingError, OverloadedError, ShuttingDownError
from handler.contract.event import without_secrets
from handler.contract.response import Failure, failure
from handler.job.jobs import Jobs
from handler.job.pool import JobPool
from handler.job.records import Inheritance
from handler.job.request import needs_runtime, read_request, refusals_logged, webhook_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from handler.contract.job_id import JobId
    from handler.contract.response import Response
    from handler.job.invoke import Function
    from handler.job.jobs import JobState
    from handler.job.pool import Job
    from handler.job.records import JobRecords, WaitingJob
    from handler.job.request import Request
    from handler.settings import Settings
    from handler.webhooks import Webhooks

log = logging.getLogger(__name__)

Stage = Literal["booting", "running", "broken", "stopping"]
_OTHER = "other"
_MOST_INITIALIZERS = 16


class JobObserver(Protocol):
    """Told of every job's fate. Called on any thread."""

    def ended(self, workflow: str, response: Response) -> None:
        """Take note of a job that was carried out, well or not."""

    def refused(self, workflow: str, code: str) -> None:
        """Take note of an event that did not become a job."""


@dataclass(frozen=True)
class Load:
    """The load at a moment.

    Attributes:
        waiting: Jobs that wait for their turn, or for the start.
        running: Jobs under way: fetched, on the device, or stored.
        busy_seconds: Seconds that the device has worked since the start.
        uptime: Seconds since ComfyUI was started; 0 before that.
        models: The models kept after the last job; ``None`` where they are elsewhere.
    """

    waiting: int
    running: int
    busy_seconds: float
    uptime: float
    models: LoadedModels | None


class JobService:
    """The jobs of one process. Coroutines run on one event loop; the rest is for any thread.

    Args:
        on_broken: Called when a job left the runtime unusable: the process must be replaced.
        records: Where jobs are remembered beyond the process; ``None`` for nowhere.
        webhooks: Sends word of jobs; ``None`` for nobody. Closed with the service.
    """

    def __init__(
        self,
        settings: Settings,
        on_broken: Callable[[], None] = lambda: None,
        records: JobRecords | None = None,
        webhooks: Webhooks | None = None,
    ) -> None:
        self._webhooks = webhooks
        self._settings = settings
        self._on_broken = on_broken
        self._observers: list[JobObserver] = []
        self._records = records
        self._jobs = Jobs(settings, self._on_response, records)
        self._inheritance = Inheritance() if records is None else records.inherit()
        self._jobs.inherit(self._inheritance)
        self._send_word_of_lost_jobs()
        # The pool, or why there will be none: a result either way, since nobody may be waiting.
        self._boot: Future[JobPool | ServiceError] = Future()
        self._booted_at = 0.0
        self._waiting_for_boot: list[Request] = []
        self._initializers = 0
        self._stopping = False
        self._broken = False
        self._inheritor: Callable[[JobId, Job | Response | None], None] = lambda *_: None

    @property
    def stage(self) -> Stage:
        """Where the process is in its life."""
        if self._stopping:
            return "stopping"
        if self._broken:
            return "broken"
        if self._pool is None:
            return "broken" if self._boot.done() else "booting"
        return "running"

    @property
    def load(self) -> Load:
        """The load at this moment."""
        pool = self._pool
        jobs = pool.jobs_under_way if pool else ()
        queued = sum(job.status == "queued" for job in jobs)
        return Load(
            waiting=queued + len(self._waiting_for_boot),
            running=len(jobs) - queued,
            busy_seconds=pool.function.runtime.busy_seconds if pool else 0.0,
            uptime=time.monotonic() - self._booted_at if pool else 0.0,
            models=pool.function.runtime.loaded_models if pool else LoadedModels(),
        )

    def observe(self, observer: JobObserver) -> None:
        """Tell an observer of what happens from now on."""
        self._observers.append(observer)

    def booted(self, function: Function) -> None:
        """Take the function, and let the requests that waited for it proceed."""
        self._booted_at = time.monotonic()
        settings = self._settings
        pool = JobPool(
            function,
            settings.concurrency,
            settings.queue_limit,
            settings.queue_max_bytes,
            self._webhooks,
        )
        for waiting in self._inheritance.waiting:
            self._submit_inherited(pool, waiting)
        self._boot.set_result(pool)

    def boot_failed(self, error: ServiceError) -> None:
        """Answer the requests that wait."""
        self._boot.set_result(error)

    def when_booted(self, take: Callable[[Function], None]) -> None:
        """Call ``take`` with the function once there is one; at once where there is."""

        def on_boot(boot: Future[JobPool | ServiceError]) -> None:
            pool = boot.result()
            if isinstance(pool, JobPool):
                take(pool.function)

        self._boot.add_done_callback(on_boot)

    def inherit(self, take: Callable[[JobId, Job | Response | None], None]) -> None:
        """Call ``take`` with each job of processes that are gone, and what is known of it.

        That is its response, or ``None`` for one that waits; it is called again with such a job
        once that is queued here, or with its response where it cannot be. To be called before the
        start is done.
        """
        self._inheritor = take
        for ended in self._inheritance.ended:
            take(ended.job_id, ended.response)
        for waiting in self._inheritance.waiting:
            take(waiting.job_id, None)

    def stop(self) -> None:
        """Be not ready, and refuse new jobs, from now on."""
        self._stopping = True
        if not self._boot.done():
            self._boot.set_result(_stopping())

    def close(self, grace: float) -> None:
        """Let running jobs end, and hand the others back.

        Args:
            grace: Seconds until running jobs are stopped and handed back as well.
        """
        self.stop()
        if self._pool is not None:
            self._pool.close(grace)
        if self._records is not None:
            self._records.close()
        if self._webhooks is not None:
            self._webhooks.close()

    def check_room(self) -> None:
        """Return if a further job might be taken. Costs nothing: for what is not yet read.

        Raises:
            OverloadedError: As many jobs wait as may.
            ShuttingDownError: The process is stopping.
        """
        try:
            if self._stopping:
                raise _stopping()
            pool = self._pool
            if pool.full if pool else len(self._waiting_for_boot) >= self._most:
                raise OverloadedError(
                    "The worker has as many jobs under way as it takes. Send the job again in a "
                    "while, or raise QUEUE_LIMIT or QUEUE_MAX_BYTES.",
                    limit=self._most,
                )
        except ServiceError as error:
            self._refused(_OTHER, error)
            raise

    async def initialize(self) -> None:
        """Wait for the start, as platforms ask for. It takes no job's place.

        Raises:
            ServiceError: See :meth:`boot_ended`.
            OverloadedError: More wait so already than a platform has reason to.
        """
        if self._initializers >= _MOST_INITIALIZERS:
            raise OverloadedError(
                "Enough requests wait for the worker's start. Ask /ready in a while.",
                limit=_MOST_INITIALIZERS,
            )
        self._initializers += 1
        try:
            await self.boot_ended()
        finally:
            self._initializers -= 1

    async def boot_ended(self) -> JobPool:
        """Return the pool, once there is one.

        Raises:
            BootingError: The start takes too long.
            ServiceError: The start failed, or the process is stopping.
        """
        if not self._boot.done():
            await asyncio.wait(
                [asyncio.wrap_future(self._boot)], timeout=self._settings.boot_timeout
            )
        if not self._boot.done():
            raise BootingError("The worker is still starting. Send the job again in a while.")
        if self._stopping:
            raise _stopping()
        pool = self._boot.result()
        if isinstance(pool, ServiceError):
            raise pool
        return pool

    async def submit(self, event: object, job_id: JobId, *, detached: bool) -> Job:
        """Queue an event, after the start; refuse one that cannot be carried out before it.

        Args:
            event: Decoded JSON.
            job_id: From :func:`handler.contract.job_id.job_id_of`.
            detached: Whether the job goes on when nobody waits for it.

        Raises:
            ServiceError: It was not taken; logged under its id.
        """
        try:
            with refusals_logged(job_id):
                request = await self._read(event, job_id)
                pool = await self._pool_for(request)
                return self._jobs.submit(
                    pool, request, detached=detached, event=without_secrets(event)
                )
        except ServiceError as error:
            self._refused(self._workflow_label(event), error)
            raise

    def find(self, job_id: JobId) -> Job | JobState:
        """Return a job by its id; see :meth:`handler.job.jobs.Jobs.find`."""
        return self._jobs.find(job_id)

    def waiting_for(self, job: Job) -> AbstractContextManager[None]:
        """Wait for a job inside; see :meth:`handler.job.jobs.Jobs.waiting_for`."""
        return self._jobs.waiting_for(job)

    async def idle(self, within: float) -> bool:
        """Wait until the jobs under way have ended; return whether they have.

        Args:
            within: Seconds.
        """
        jobs = self._pool.jobs_under_way if self._pool else ()
        waiting = [asyncio.wrap_future(job.future) for job in jobs]
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=within)
            return not late
        return True

    @property
    def _pool(self) -> JobPool | None:
        pool = self._boot.result() if self._boot.done() else None
        return pool if isinstance(pool, JobPool) else None

    @property
    def _most(self) -> int:
        return self._settings.concurrency + self._settings.queue_limit

    async def _read(self, event: object, job_id: JobId) -> Request:
        if self._settings.takes_caller_graphs and needs_runtime(event):
            pool = await self.boot_ended()
            return await asyncio.to_thread(pool.function.read, event, job_id)
        return await asyncio.to_thread(read_request, event, job_id, self._settings)

    async def _pool_for(self, request: Request) -> JobPool:
        if self._boot.done():
            return await self.boot_ended()
        held = sum(waiting.size for waiting in self._waiting_for_boot)
        too_large = held and held + request.size > self._settings.queue_max_bytes
        if len(self._waiting_for_boot) >= self._most or too_large:
            raise OverloadedError(
                f"{len(self._waiting_for_boot)} requests wait for the worker's start, and hold "
                f"{held} bytes: the most it takes. Send the job again in a while, or raise "
                "QUEUE_LIMIT or QUEUE_MAX_BYTES.",
                limit=self._most,
            )
        self._waiting_for_boot.append(request)
        try:
            return await self.boot_ended()
        finally:
            self._waiting_for_boot.remove(request)

    def _submit_inherited(self, pool: JobPool, waiting: WaitingJob) -> None:
        """Run a job of a process that is gone, for callers who may still ask for it."""
        try:
            with refusals_logged(waiting.job_id):
                request = pool.function.read(waiting.event, waiting.job_id)
                job = self._jobs.submit(
                    pool, request, detached=True, event=waiting.event, tries=waiting.tries
                )
        except ServiceError as error:
            refused = failure(waiting.job_id, error)
            self._jobs.fail(waiting.job_id, refused)
            self._inheritor(waiting.job_id, refused)
        else:
            self._inheritor(waiting.job_id, job)

    def _send_word_of_lost_jobs(self) -> None:
        for ended in self._inheritance.ended:
            webhook = None if ended.event is None else webhook_of(ended.event, self._settings)
            if self._webhooks is not None and webhook is not None:
                self._webhooks.ended(ended.job_id, webhook, ended.response)

    def _on_response(self, job: Job, response: Response) -> None:
        for observer in self._observers:
            observer.ended(job.workflow, response)
        if isinstance(response, Failure) and response.replace_worker and not self._broken:
            self._broken = True
            log.critical("worker is broken and ends")
            self._on_broken()

    def _refused(self, workflow: str, error: ServiceError) -> None:
        for observer in self._observers:
            observer.refused(workflow, error.code)

    def _workflow_label(self, event: object) -> str:
        """Return the workflow that an event names, if it is installed: labels must stay few."""
        match event:
            case {"input": {"workflow": str() as name}} if name in workflow_names(
                self._settings.workflows_dir
            ):
                return name
            case _:
                return _OTHER


def _stopping() -> ShuttingDownError:
    return ShuttingDownError("The worker is stopping. Send the job again: another will take it.")
