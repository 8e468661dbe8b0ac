"""Several jobs under way at once, in order: every platform gets its concurrency from here.

While one job runs on the device, the next one's input is fetched and decoded, and the last one's
result is encoded and stored. The runtime lets one job at a time on the device.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Literal

from comfyui_runtime.errors import CancelledError
from handler.contract.errors import (
    InternalError,
    JobIdInUseError,
    OverloadedError,
    ShuttingDownError,
)
from handler.contract.response import Failure, failure
from handler.job.request import job_id_of

if TYPE_CHECKING:
    from comfyui_runtime.errors import ServiceError
    from comfyui_runtime.run.cancellation import Cancellation
    from handler.contract.progress import JobProgress, OnJobProgress
    from handler.contract.response import Response
    from handler.job.invoke import Function

log = logging.getLogger(__name__)

JobStatus = Literal["queued", "running", "succeeded", "failed"]


class Job:
    """One event on its way. Live: its attributes change as the job goes on.

    Attributes:
        job_id: The event's id, or one made up.
        event: As it was submitted.
        submitted_at: Seconds since the epoch.
        future: Gives the response; never an exception.
        progress: The last progress, once there is any.
    """

    def __init__(
        self, job_id: str, event: object, on_progress: OnJobProgress | None = None
    ) -> None:
        self.job_id = job_id
        self.event = event
        self.submitted_at = time.time()
        self.future: Future[Response] = Future()
        self.progress: JobProgress | None = None
        self._lock = threading.Lock()
        self._listeners: list[OnJobProgress] = [on_progress] if on_progress else []
        self._cancellation: Cancellation | None = None
        self._taken_back = False

    @property
    def status(self) -> JobStatus:
        """Where the job stands."""
        if self.future.done():
            return "failed" if isinstance(self.future.result(), Failure) else "succeeded"
        return "queued" if self._cancellation is None else "running"

    def cancel(self, reason: ServiceError | None = None) -> None:
        """Stop the job, wherever it is; one that waits is answered at once.

        Args:
            reason: The error of its response; ``cancelled`` without one.
        """
        reason = reason or CancelledError("The job was cancelled.")
        with self._lock:
            if self._taken_back:
                return
            cancellation = self._cancellation
            self._taken_back = cancellation is None
        if cancellation is None:
            self.future.set_result(failure(self.job_id, reason))
        else:
            cancellation.cancel(reason)

    def listen(self, listener: OnJobProgress) -> None:
        """Call ``listener`` with each progress from now on; it must return at once."""
        with self._lock:
            self._listeners.append(listener)

    def carry_out(self, function: Function) -> None:
        """Carry the job out on the calling thread; its time limit counts from here."""
        with self._lock:
            if self._taken_back:
                return
            self._cancellation = function.new_cancellation()
        response = function.invoke(self.event, self._cancellation, self._on_progress, self.job_id)
        self.future.set_result(response)

    def _on_progress(self, progress: JobProgress) -> None:
        self.progress = progress
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            listener(progress)


class JobPool:
    """Carries jobs out, first come, first served.

    Args:
        concurrency: Jobs under way at once; memory holds the pictures of that many.
        queue_limit: Jobs that may wait beyond those; ``None`` for no limit.
    """

    def __init__(
        self, function: Function, concurrency: int, queue_limit: int | None = None
    ) -> None:
        self.function = function
        self._most = None if queue_limit is None else concurrency + queue_limit
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="job")
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._closing = False

    @property
    def jobs_under_way(self) -> tuple[Job, ...]:
        """Jobs that wait or run, oldest first."""
        with self._lock:
            return self._unanswered()

    @property
    def full(self) -> bool:
        """Whether a further job would be refused."""
        with self._lock:
            return self._most is not None and len(self._unanswered()) >= self._most

    def submit(self, event: object, on_progress: OnJobProgress | None = None) -> Job:
        """Queue an event. The same event sent again under its id while it is under way joins it.

        Args:
            on_progress: Called with the job's progress; it must return at once.

        Raises:
            OverloadedError: The queue is full.
            ShuttingDownError: The pool is closing.
            JobIdInUseError: Another event with this id is under way.
        """
        job_id = job_id_of(event)
        with self._lock:
            if self._closing:
                raise _shutting_down()
            job = self._jobs.get(job_id)
            if job is not None and not job.future.done():
                return _join(job, event, on_progress)
            under_way = len(self._unanswered())
            if self._most is not None and under_way >= self._most:
                raise OverloadedError(
                    f"The worker has {under_way} jobs under way, the most it takes. Send the "
                    "job again in a while, or raise QUEUE_LIMIT.",
                    limit=self._most,
                )
            job = self._jobs[job_id] = Job(job_id, event, on_progress)
        self._threads.submit(self._carry_out, job)
        return job

    def close(self, grace: float) -> None:
        """Take no more jobs, hand back those that wait, and let those that run end.

        Args:
            grace: Seconds until running jobs are stopped and handed back as well.
        """
        with self._lock:
            self._closing = True
        for job in self.jobs_under_way:
            if job.status == "queued":
                job.cancel(_shutting_down())
        _, late = wait([job.future for job in self.jobs_under_way], grace)
        for job in self.jobs_under_way if late else ():
            job.cancel(_shutting_down())
        self._threads.shutdown(wait=True)

    def _unanswered(self) -> tuple[Job, ...]:
        return tuple(job for job in self._jobs.values() if not job.future.done())

    def _carry_out(self, job: Job) -> None:
        try:
            job.carry_out(self.function)
        except Exception:
            log.exception("job failed outside its boundary", extra={"job": job.job_id})
            error = InternalError("The worker failed in a way it should not; see its log.")
            job.future.set_result(failure(job.job_id, error))
        finally:
            with self._lock:
                if self._jobs.get(job.job_id) is job:
                    del self._jobs[job.job_id]


def _join(job: Job, event: object, on_progress: OnJobProgress | None) -> Job:
    if job.event != event:
        raise JobIdInUseError(
            f"Another event with the id {job.job_id} is under way. Give each job an id of its own.",
            job_id=job.job_id,
        )
    if on_progress is not None:
        job.listen(on_progress)
    return job


def _shutting_down() -> ShuttingDownError:
    return ShuttingDownError("The worker is stopping. Send the job again: another will take it.")
