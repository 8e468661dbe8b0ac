"""Several jobs under way at once, in order: every platform gets its concurrency from here.

While one job runs on the device, the next one's input is fetched and decoded, and the last one's
result is encoded and stored. The runtime lets one job at a time on the device.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
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

if TYPE_CHECKING:
    from comfyui_runtime.errors import ServiceError
    from comfyui_runtime.run.cancellation import Cancellation
    from handler.contract.job_id import JobId
    from handler.contract.progress import JobProgress, OnJobProgress
    from handler.contract.response import Response
    from handler.job.invoke import Function
    from handler.job.request import Request
    from handler.webhooks import Webhooks

log = logging.getLogger(__name__)

JobStatus = Literal["queued", "running", "succeeded", "failed"]


class Job:
    """One request on its way. Live: its attributes change as the job goes on.

    Attributes:
        job_id: The request's.
        workflow: Its workflow's name.
        shape: Whose contract its event follows, and its response.
        fingerprint: What tells the same request sent again from another one under its id.
        size: Bytes of the request, which is held until work on the job begins.
        webhook: Where to send word of the job.
        submitted_at: Seconds since the epoch.
        future: Gives the response; never an exception.
        progress: The last progress, once there is any; it stays as it was when the job ended.
    """

    def __init__(self, request: Request, on_progress: OnJobProgress | None = None) -> None:
        self.job_id: JobId = request.job_id
        self.workflow = request.workflow.name
        self.fingerprint = request.fingerprint
        self.size = request.size
        self.shape = request.shape
        self.webhook = request.webhook
        self.submitted_at = time.time()
        self.future: Future[Response] = Future()
        self.progress: JobProgress | None = None
        self._lock = threading.Lock()
        self._listeners: list[OnJobProgress] = [on_progress] if on_progress else []
        self._request: Request | None = request
        self._cancellation: Cancellation | None = None

    @property
    def status(self) -> JobStatus:
        """Where the job stands."""
        if self.future.done():
            return "failed" if isinstance(self.future.result(), Failure) else "succeeded"
        return "queued" if self._cancellation is None else "running"

    def cancel(self, reason: ServiceError | None = None) -> None:
        """Stop the job, wherever it is; one that waits is answered, and let go of, at once.

        Args:
            reason: The error of its response; ``cancelled`` without one.
        """
        reason = reason or CancelledError("The job was cancelled.")
        with self._lock:
            cancellation = self._cancellation
            waits = self._request is not None
            self._request = None
        if waits:
            self.future.set_result(failure(self.job_id, reason).shaped(self.shape))
        elif cancellation is not None:
            cancellation.cancel(reason)

    def listen(self, listener: OnJobProgress) -> None:
        """Call ``listener`` with each progress from now on; it must return at once."""
        with self._lock:
            self._listeners.append(listener)

    def carry_out(self, function: Function) -> None:
        """Carry the job out on the calling thread; its time limit counts from here."""
        with self._lock:
            request, self._request = self._request, None
            if request is None:
                return
            self._cancellation = function.new_cancellation()
        response = function.invoke(request, self._cancellation, self._on_progress)
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
        queue_max_bytes: Bytes that the requests of waiting jobs may have in all; ``None`` for no
            limit. One job may always wait.
        webhooks: Sends word of the jobs that ask for it; ``None`` for nobody.
    """

    def __init__(
        self,
        function: Function,
        concurrency: int,
        queue_limit: int | None = None,
        queue_max_bytes: int | None = None,
        webhooks: Webhooks | None = None,
    ) -> None:
        self._webhooks = webhooks
        self.function = function
        self._concurrency = concurrency
        self._most = None if queue_limit is None else concurrency + queue_limit
        self._most_bytes = queue_max_bytes
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="job")
        self._threads_busy = 0
        self._lock = threading.Lock()
        self._jobs: dict[JobId, Job] = {}
        self._queue: deque[Job] = deque()
        self._closing = False

    @property
    def jobs_under_way(self) -> tuple[Job, ...]:
        """Jobs that wait or run, oldest first."""
        with self._lock:
            return self._unanswered()

    @property
    def full(self) -> bool:
        """Whether a further job would be refused, however small."""
        with self._lock:
            return self._refusal(0) is not None

    def submit(self, request: Request, on_progress: OnJobProgress | None = None) -> Job:
        """Queue a request. The same one sent again under its id while it is under way joins it.

        Args:
            on_progress: Called with the job's progress; it must return at once.

        Raises:
            OverloadedError: The queue is full.
            ShuttingDownError: The pool is closing.
            JobIdInUseError: Another request with this id is under way.
        """
        with self._lock:
            if self._closing:
                raise _shutting_down()
            job = self._jobs.get(request.job_id)
            if job is not None and not job.future.done():
                return _join(job, request, on_progress)
            refusal = self._refusal(request.size)
            if refusal is not None:
                raise refusal
            job = self._jobs[request.job_id] = Job(request, on_progress)
            self._send_word(job)
            self._queue.append(job)
            if self._threads_busy < self._concurrency:
                self._threads_busy += 1
                self._threads.submit(self._work)
        job.future.add_done_callback(lambda _: self._forget(job))
        return job

    def _send_word(self, job: Job) -> None:
        webhooks, webhook = self._webhooks, job.webhook
        if webhooks is None or webhook is None:
            return
        listener = webhooks.listener(job.job_id, webhook)
        if listener is not None:
            job.listen(listener)
        job.future.add_done_callback(
            lambda future: webhooks.ended(job.job_id, webhook, future.result())
        )

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

    def _refusal(self, size: int) -> OverloadedError | None:
        """Return why a request of so many bytes is not taken, if it is not."""
        under_way = len(self._unanswered())
        if self._most is not None and under_way >= self._most:
            return OverloadedError(
                f"The worker has {under_way} jobs under way, the most it takes. Send the "
                "job again in a while, or raise QUEUE_LIMIT.",
                limit=self._most,
            )
        waiting = sum(job.size for job in self._queue)
        if self._most_bytes is not None and waiting and waiting + size > self._most_bytes:
            return OverloadedError(
                f"The requests of the jobs that wait have {waiting} bytes, and this one would "
                "make them too many. Send the job again in a while, send photos as URLs, or "
                "raise QUEUE_MAX_BYTES.",
                limit=self._most_bytes,
            )
        return None

    def _work(self) -> None:
        while (job := self._next()) is not None:
            self._carry_out(job)

    def _next(self) -> Job | None:
        with self._lock:
            if self._queue:
                return self._queue.popleft()
            self._threads_busy -= 1
            return None

    def _carry_out(self, job: Job) -> None:
        try:
            job.carry_out(self.function)
        except BaseException:
            log.exception("job failed outside its boundary", extra={"job": job.job_id})
            error = InternalError("The worker failed in a way it should not; see its log.")
            job.future.set_result(failure(job.job_id, error).shaped(job.shape))

    def _forget(self, job: Job) -> None:
        with self._lock:
            if self._jobs.get(job.job_id) is job:
                del self._jobs[job.job_id]
            if job in self._queue:
                self._queue.remove(job)


def _join(job: Job, request: Request, on_progress: OnJobProgress | None) -> Job:
    if job.fingerprint != request.fingerprint:
        raise JobIdInUseError(
            f"Another event with the id {job.job_id} is under way. Give each job an id of its own.",
            job_id=job.job_id,
        )
    if on_progress is not None:
        job.listen(on_progress)
    return job


def _shutting_down() -> ShuttingDownError:
    return ShuttingDownError("The worker is stopping. Send the job again: another will take it.")
