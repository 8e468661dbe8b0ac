"""The one object that every route asks: the booted function, or the wait for it."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Literal

from comfyui_runtime.errors import ServiceError
from comfyui_runtime.workflow.manifest import workflow_names
from handler.contract.errors import BootingError, OverloadedError, ShuttingDownError
from handler.contract.event import parse_event
from handler.contract.response import Failure
from handler.http.catalogue import Catalogue
from handler.http.jobs import Jobs
from handler.http.metrics import LiveFigures, Metrics
from handler.http.results import ResultLinks
from handler.job.pool import JobPool
from handler.job.request import job_id_of, validate_request
from handler.log import job_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from handler.contract.response import Response
    from handler.job.invoke import Function
    from handler.job.pool import Job
    from handler.settings import Settings

log = logging.getLogger(__name__)

Stage = Literal["booting", "running", "broken", "stopping"]


class Service:
    """A server's state. Its coroutines run on the event loop; the rest is safe from any thread.

    Args:
        on_broken: Called when a job left the runtime unusable: the process must be replaced.
    """

    def __init__(self, settings: Settings, on_broken: Callable[[], None] = lambda: None) -> None:
        self.settings = settings
        self.catalogue = Catalogue(settings)
        self.links = ResultLinks(settings.api_token)
        self.metrics = Metrics(self._live_figures)
        self.jobs = Jobs(settings, self._on_response)
        self._on_broken = on_broken
        # The pool, or why there will be none: a result either way, since nobody may be waiting.
        self._boot: Future[JobPool | ServiceError] = Future()
        self._booted_at = 0.0
        self._waiting_for_boot = 0
        self._stopping = False
        self._broken = False

    @property
    def stage(self) -> Stage:
        """Where the process is in its life."""
        if self._stopping:
            return "stopping"
        if self._broken:
            return "broken"
        return "running" if self._pool else "booting"

    def booted(self, function: Function) -> None:
        """Take the function, and let the requests go on that waited for it."""
        self._booted_at = time.monotonic()
        node_classes = function.runtime.node_classes()
        if node_classes is not None:
            self.catalogue.set_node_classes(node_classes)
        settings = self.settings
        self._boot.set_result(JobPool(function, settings.concurrency, settings.queue_limit))

    def boot_failed(self, error: ServiceError) -> None:
        """Answer the requests that wait."""
        self._boot.set_result(error)

    def stop(self) -> None:
        """Be not ready, and refuse new jobs, from now on."""
        self._stopping = True
        if not self._boot.done():
            self._boot.set_result(_stopping())

    def close(self) -> None:
        """Let running jobs end within the grace period, and hand the others back."""
        self.stop()
        if self._pool is not None:
            self._pool.close(self.settings.shutdown_grace)

    async def wait_for_boot(self) -> JobPool:
        """Return the pool, once there is one.

        Raises:
            OverloadedError: As many requests wait as may.
            BootingError: The start takes too long.
            ServiceError: The start failed, or the server is stopping.
        """
        if not self._boot.done():
            await self._wait_for_boot()
        if self._stopping:
            raise _stopping()
        pool = self._boot.result()
        if isinstance(pool, ServiceError):
            raise pool
        return pool

    async def submit(self, event: object, *, detached: bool) -> Job:
        """Queue an event, after the start; refuse one that cannot be carried out before it.

        Args:
            detached: Whether the job goes on when nobody waits for it.

        Raises:
            ServiceError: It was not taken.
        """
        try:
            await asyncio.to_thread(self._check, event)
            return self.jobs.submit(await self.wait_for_boot(), event, detached=detached)
        except ServiceError as error:
            with job_context(job_id_of(event)):
                log.warning("job refused", extra={"code": error.code, "error": error.message})
            self.metrics.refused(self._workflow_label(event), error.code)
            raise

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

    def _check(self, event: object) -> None:
        validate_request(parse_event(event), "", self.settings.workflows_dir)

    async def _wait_for_boot(self) -> None:
        most = self.settings.concurrency + self.settings.queue_limit
        if self._waiting_for_boot >= most:
            raise OverloadedError(
                f"{most} requests wait for the worker's start, the most it takes. Send the job "
                "again in a while, or raise QUEUE_LIMIT.",
                limit=most,
            )
        self._waiting_for_boot += 1
        try:
            await asyncio.wait(
                [asyncio.wrap_future(self._boot)], timeout=self.settings.boot_timeout
            )
        finally:
            self._waiting_for_boot -= 1
        if not self._boot.done():
            raise BootingError("The worker is still starting. Send the job again in a while.")

    def _on_response(self, event: object, response: Response) -> None:
        self.metrics.ended(self._workflow_label(event), response)
        if isinstance(response, Failure) and response.replace_worker and not self._broken:
            self._broken = True
            log.critical("worker is broken and ends")
            self._on_broken()

    def _workflow_label(self, event: object) -> str:
        """Return the workflow that an event names, if it is installed: labels must stay few."""
        match event:
            case {"input": {"workflow": str() as name}} if name in workflow_names(
                self.settings.workflows_dir
            ):
                return name
            case _:
                return "other"

    def _live_figures(self) -> LiveFigures:
        pool = self._pool
        jobs = pool.jobs_under_way if pool else ()
        waiting = sum(job.status == "queued" for job in jobs)
        return LiveFigures(
            waiting=waiting + self._waiting_for_boot,
            running=len(jobs) - waiting,
            busy_seconds=pool.function.runtime.busy_seconds if pool else 0.0,
            uptime=time.monotonic() - self._booted_at if pool else 0.0,
            ready=self.stage == "running",
        )


def _stopping() -> ShuttingDownError:
    return ShuttingDownError("The worker is stopping. Send the job again: another will take it.")
