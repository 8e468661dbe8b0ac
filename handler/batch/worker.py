"""A batch's worker: takes free jobs, carries them out in the job pool, records how they ended."""

from __future__ import annotations

import heapq
import logging
import time
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from comfyui_runtime.errors import ServiceError, WorkerBrokenError
from handler.batch.jobs import Record
from handler.contract.errors import CrashingJobError, ShuttingDownError
from handler.contract.job_id import JobId
from handler.contract.response import Failure, failure
from handler.job.pool import JobPool
from handler.job.request import refusals_logged

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from concurrent.futures import Future

    from handler.batch.backlog import Backlog
    from handler.batch.claims import Claim, ClaimKeeper
    from handler.batch.jobs import BatchJob, JobList
    from handler.batch.ledger import Ledger
    from handler.contract.event import Webhook
    from handler.contract.progress import JobProgress
    from handler.contract.response import Response
    from handler.job.invoke import Function
    from handler.webhooks import Webhooks

# Beyond those that run, so that a photo is read from the disk while another job is on the device.
_AHEAD = 1
_TURN_SECONDS = 0.2
_REFRESH_SECONDS = 30.0
_TRIES_PER_TURN = 16
_PAUSE_SECONDS = 1.0
_LONGEST_BACKOFF = 30.0

End = Literal["done", "stopped", "broken"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, order=True)
class _Attempt:
    """A job that this worker holds.

    Attributes:
        due: When it may be tried, on the monotonic clock.
        number: From 1.
    """

    due: float
    job: BatchJob = field(compare=False)
    claim: Claim = field(compare=False)
    number: int = field(compare=False)


@dataclass(frozen=True)
class Work:
    """What a worker works on.

    Attributes:
        job_list: Gives the jobs' events.
        backlog: The worker's share.
        ledger: Where the jobs are recorded, by all workers.
        claims: What keeps the workers apart.
        webhooks: Sends word of jobs' ends; ``None`` for nobody.
    """

    job_list: JobList
    backlog: Backlog
    ledger: Ledger
    claims: ClaimKeeper
    webhooks: Webhooks | None = None


class BatchWorker:
    """Does what is left of a batch, together with other workers on the same list.

    Args:
        attempts: How often a job is tried that fails with a retryable error, and how many workers
            may die with a job before it counts as failed; the last of them did nothing else.
        stop: Set from outside, a signal's handler say: take no more jobs, finish those that run.
        on_change: Called when the work begins, after jobs were recorded, and now and then.
    """

    def __init__(
        self,
        function: Function,
        work: Work,
        attempts: int,
        stop: threading.Event,
        on_change: Callable[[], None],
    ) -> None:
        self._pool = JobPool(function, function.settings.concurrency)
        self._limit = function.settings.concurrency + _AHEAD
        self._stop_grace = function.settings.stop_grace
        self._job_list = work.job_list
        self._backlog = work.backlog
        self._ledger = work.ledger
        self._claims = work.claims
        self._webhooks = work.webhooks
        self._wanted_word: dict[BatchJob, Webhook] = {}
        self._attempts = attempts
        self._stop = stop
        self._on_change = on_change
        self._under_way: dict[Future[Response], _Attempt] = {}
        self._retries: list[_Attempt] = []
        self._broken = False
        self._pause_until = 0.0
        self._refreshed_at = time.monotonic()

    def run(self) -> End:
        """Work until every job is done, by this worker or another, or until stopped.

        Raises:
            StorageError: The ledger or the claims cannot be used.
        """
        self._claims.start()
        self._on_change()
        try:
            while not self._ended():
                self._take_jobs()
                self._collect(_TURN_SECONDS)
        finally:
            self._pool.close(self._stop_grace)
            self._wind_up()
        if self._broken:
            return "broken"
        return "done" if self._backlog.done else "stopped"

    def _ended(self) -> bool:
        return self._broken or self._stop.is_set() or self._backlog.done

    def _take_jobs(self) -> None:
        while len(self._under_way) < self._limit and not self._tries_a_suspect():
            attempt = self._due_retry() or self._free_job()
            if attempt is None:
                return
            self._submit(attempt)

    def _tries_a_suspect(self) -> bool:
        return any(attempt.claim.suspected for attempt in self._under_way.values())

    def _due_retry(self) -> _Attempt | None:
        if not self._retries or self._retries[0].due > time.monotonic():
            return None
        if self._retries[0].claim.suspected and self._under_way:
            return None
        return heapq.heappop(self._retries)

    def _free_job(self) -> _Attempt | None:
        if time.monotonic() < self._pause_until:
            return None
        # Suspects come last: what they take down with them is then done.
        attempt = self._claim_one(idle=False) or (
            None if self._under_way else self._claim_one(idle=True)
        )
        if attempt is None and self._backlog.waiting:
            self._pause_until = time.monotonic() + _PAUSE_SECONDS
            self._refresh()
        return attempt

    def _claim_one(self, *, idle: bool) -> _Attempt | None:
        for _ in range(min(_TRIES_PER_TURN, self._backlog.waiting)):
            job = self._backlog.next()
            claim = self._claims.take(job.job_id, idle=idle)
            if claim is None:
                self._backlog.put_back(job)
            elif self._backlog.is_done(job):
                continue
            elif claim.lost >= self._attempts and claim.lost_by_it:
                self._record(_Attempt(0.0, job, claim, claim.lost), _lost(job, claim))
            else:
                return _Attempt(0.0, job, claim, 1)
        return None

    def _submit(self, attempt: _Attempt) -> None:
        def on_progress(progress: JobProgress) -> None:
            if progress.phase == "run":
                self._claims.on_device(attempt.claim)

        job_id = JobId.of(attempt.job.job_id)
        try:
            with refusals_logged(job_id):
                event = self._job_list.event(attempt.job)
                request = self._pool.function.read(event, job_id)
                if request.webhook is not None:
                    self._wanted_word[attempt.job] = request.webhook
                job = self._pool.submit(request, on_progress)
        except ServiceError as error:
            self._record(attempt, failure(job_id, error))
        else:
            self._under_way[job.future] = attempt

    def _collect(self, seconds: float) -> None:
        if self._under_way:
            wait(self._under_way, seconds, FIRST_COMPLETED)
        else:
            self._stop.wait(seconds)
        for future in [future for future in self._under_way if future.done()]:
            self._settle(self._under_way.pop(future), future.result())
        if time.monotonic() - self._refreshed_at > _REFRESH_SECONDS:
            self._refresh()

    def _refresh(self) -> None:
        self._refreshed_at = time.monotonic()
        self._backlog.refresh()
        self._on_change()

    def _settle(self, attempt: _Attempt, response: Response) -> None:
        if not isinstance(response, Failure):
            self._record(attempt, response)
            return
        self._broken = self._broken or response.replace_worker
        match response.error.code:
            case WorkerBrokenError.code:
                self._claims.blame(attempt.claim)
                log.error("worker cannot go on", extra={"job": attempt.job.job_id})
            case ShuttingDownError.code:
                self._claims.give_back(attempt.claim)
            case _ if response.error.retryable and attempt.number < self._attempts:
                backoff = min(2.0**attempt.number, _LONGEST_BACKOFF)
                due = time.monotonic() + backoff
                retry = _Attempt(due, attempt.job, attempt.claim, attempt.number + 1)
                heapq.heappush(self._retries, retry)
            case _:
                self._record(attempt, response)

    def _record(self, attempt: _Attempt, response: Response) -> None:
        if not self._claims.still_held(attempt.claim):
            log.warning("job was taken over by another worker", extra={"job": attempt.job.job_id})
            self._backlog.put_back(attempt.job)
            return
        webhook = self._wanted_word.pop(attempt.job, None)
        if self._webhooks is not None and webhook is not None:
            self._webhooks.ended(JobId.of(attempt.job.job_id), webhook, response)
        record = Record(attempt.job, attempt.number, response)
        self._ledger.append(record)
        self._backlog.settle(attempt.job, record.outcome)
        if isinstance(response, Failure):
            self._claims.give_back(attempt.claim)
        self._on_change()

    def _wind_up(self) -> None:
        """Record what ended while the pool closed, and give back what did not."""
        try:
            while self._under_way:
                future, attempt = self._under_way.popitem()
                self._settle(attempt, future.result())
            for attempt in self._retries:
                self._claims.give_back(attempt.claim)
        finally:
            self._claims.close()


def _lost(job: BatchJob, claim: Claim) -> Failure:
    error = CrashingJobError(
        f"{claim.lost} workers ended without a word while they ran this job: it may need more "
        "memory than they have. Their logs may tell.",
        workers=claim.lost,
    )
    return failure(JobId.of(job.job_id), error)
