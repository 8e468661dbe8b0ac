"""Jobs by their id: those under way, and for a while those that have ended."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

from handler.contract.errors import UnknownJobError
from handler.contract.progress import JobProgress
from handler.contract.response import Failure, Success
from handler.job.pool import JobStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from handler.contract.job_id import JobId
    from handler.contract.response import Response
    from handler.job.pool import Job, JobPool
    from handler.job.records import Inheritance, JobRecords
    from handler.job.request import Request
    from handler.settings import Settings


class JobState(BaseModel):
    """Where a job stands, and its response once it has ended."""

    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)

    job_id: str
    given_id: str | None = Field(None, description="The id as it was given, if one was.")
    status: JobStatus
    progress: JobProgress | None
    response: Annotated[Success | Failure, Field(discriminator="status")] | None

    @classmethod
    def of(cls, job: Job) -> JobState:
        """Return the state of a job at this moment."""
        return cls(
            job_id=job.job_id,
            given_id=job.job_id.given,
            status=job.status,
            progress=job.progress,
            response=job.future.result() if job.future.done() else None,
        )


class _Live:
    """A job under way, and who waits for it."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.waiting = 0
        self.detached = False


@dataclass(frozen=True)
class _Finished:
    state: JobState
    ended_at: float
    size: int


class Jobs:
    """Submits jobs and remembers them. Used on the event loop, except for what jobs' ends call.

    Args:
        settings: How many ended jobs are remembered, and for how long.
        on_response: Called once per job, on the thread that answered it.
        records: Where jobs are remembered beyond the process; ``None`` for nowhere.
    """

    def __init__(
        self,
        settings: Settings,
        on_response: Callable[[Job, Response], None],
        records: JobRecords | None = None,
    ) -> None:
        self._settings = settings
        self._on_response = on_response
        self._records = records
        self._inherited: dict[JobId, JobState] = {}
        self._lock = threading.Lock()
        self._live: dict[JobId, _Live] = {}
        self._finished: OrderedDict[JobId, _Finished] = OrderedDict()
        self._finished_bytes = 0

    def submit(
        self,
        pool: JobPool,
        request: Request,
        *,
        detached: bool,
        event: object = None,
        tries: int = 1,
    ) -> Job:
        """Queue a request, or join the same one under way.

        Args:
            detached: Whether the job goes on when nobody waits for it.
            event: What the request was made of, to do a detached job again after a crash.
            tries: How many processes have held the job, this one included.

        Raises:
            ServiceError: The pool refuses it; see :meth:`handler.job.pool.JobPool.submit`.
        """
        records = self._records
        on_progress = None if records is None else partial(records.progressed, request.job_id)
        job = pool.submit(request, on_progress)
        with self._lock:
            live = self._live.get(job.job_id)
            is_new = live is None or live.job is not job
            if live is None or is_new:
                live = self._live[job.job_id] = _Live(job)
                self._pop_finished(job.job_id)
                self._inherited.pop(job.job_id, None)
            newly_detached = detached and not live.detached
            live.detached = live.detached or detached
        if records is not None and (is_new or newly_detached):
            records.taken(job.job_id, event if detached else None, tries)
            if not is_new and job.future.done():
                # It ended meanwhile: what was just written must not hide that.
                records.ended(job.job_id, job.future.result())
        if is_new:
            # Only now, so that the record of its end comes after that of its beginning.
            job.future.add_done_callback(lambda _: self._end(job))
        return job

    def inherit(self, inheritance: Inheritance) -> None:
        """Remember the jobs of processes that are gone; those that wait are submitted later."""
        with self._lock:
            for waiting in inheritance.waiting:
                self._inherited[waiting.job_id] = _state(waiting.job_id, "queued")
            for ended in inheritance.ended:
                self._remember(_state_of(ended.job_id, ended.response), ended.job_id)
            self._forget()

    def fail(self, job_id: JobId, response: Failure) -> None:
        """Remember that an inherited job could not be submitted."""
        with self._lock:
            self._inherited.pop(job_id, None)
            self._remember(_state_of(job_id, response), job_id)
        if self._records is not None:
            self._records.ended(job_id, response)

    @contextlib.contextmanager
    def waiting_for(self, job: Job) -> Iterator[None]:
        """Wait for a job inside. When nobody waits for it any more, it is cancelled."""
        live = self._live.get(job.job_id)
        if live is None or live.job is not job:
            yield
            return
        live.waiting += 1
        try:
            yield
        finally:
            live.waiting -= 1
            if not (live.waiting or live.detached or job.future.done()):
                job.cancel()

    def find(self, job_id: JobId) -> Job | JobState:
        """Return a job that is under way, or the last state of one that has ended.

        Raises:
            UnknownJobError: Neither is known.
        """
        with self._lock:
            live = self._live.get(job_id)
            if live is not None:
                return live.job
            if job_id in self._inherited:
                return self._inherited[job_id]
            self._forget()
            finished = self._finished.get(job_id)
        if finished is None:
            raise UnknownJobError(
                "There is no job with this id under way, and none is remembered: jobs that have "
                "ended are forgotten after a while (JOBS_KEPT, JOBS_KEPT_SECONDS).",
                job_id=job_id,
            )
        return finished.state

    def _end(self, job: Job) -> None:
        response = job.future.result()
        if self._records is not None:
            self._records.ended(job.job_id, response)
        state = JobState.of(job)
        with self._lock:
            live = self._live.get(job.job_id)
            if live is not None and live.job is job:
                del self._live[job.job_id]
            self._remember(state, job.job_id)
            self._forget()
        self._on_response(job, response)

    def _remember(self, state: JobState, job_id: JobId) -> None:
        self._pop_finished(job_id)
        size = 0 if state.response is None else _size(state.response)
        self._finished[job_id] = _Finished(state, time.monotonic(), size)
        self._finished_bytes += size

    def _forget(self) -> None:
        oldest_allowed = time.monotonic() - self._settings.jobs_kept_seconds
        while self._finished:
            job_id, oldest = next(iter(self._finished.items()))
            if (
                len(self._finished) <= self._settings.jobs_kept
                and self._finished_bytes <= self._settings.jobs_kept_max_bytes
                and oldest.ended_at >= oldest_allowed
            ):
                return
            self._pop_finished(job_id)
            if self._records is not None:
                self._records.forget(job_id)

    def _pop_finished(self, job_id: JobId) -> None:
        finished = self._finished.pop(job_id, None)
        if finished is not None:
            self._finished_bytes -= finished.size


def _state(job_id: JobId, status: JobStatus, response: Response | None = None) -> JobState:
    return JobState(
        job_id=job_id, given_id=job_id.given, status=status, progress=None, response=response
    )


def _state_of(job_id: JobId, response: Response) -> JobState:
    return _state(job_id, response.status, response)


def _size(response: Response) -> int:
    if isinstance(response, Failure):
        return 0
    return sum(len(output.base64 or "") for output in response.outputs)
