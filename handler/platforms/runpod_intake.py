"""How many jobs the RunPod worker takes: the SDK's loop, paced by what was measured.

The SDK (release 1.12.0, ``rp_scale``) lets a worker change how many jobs it takes, but waits until
it has none before the change counts, and looks once a second. Its loop asks ``set_scale`` before
each request for jobs; here that waits until another job is to be taken.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

from handler.contract.response import Success
from handler.job.pace import Held, Intake

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from handler.contract.progress import JobProgress
    from handler.contract.response import Response
    from handler.job.pace import Stage

_LOOK = 0.05
# The SDK looks ten times a second whether it has taken a job.
_HAND_OVER = 0.1


class WorkerIntake:
    """The jobs that the worker has, and whether it is to have another. Safe from any thread.

    Args:
        most: Jobs that it may have at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._intake = Intake(most)
        self._lock = threading.Lock()
        self._jobs: list[HeldJob] = []

    def begin(self) -> HeldJob:
        """Take note of a job that the worker begins with."""
        job = HeldJob(self._end)
        with self._lock:
            self._jobs.append(job)
        return job

    def wants(self, queued: int, taken: int) -> bool:
        """Say whether to ask for another job.

        Args:
            queued: Jobs that the SDK has and that have not begun.
            taken: Jobs that it has in all; results of some are being posted.
        """
        with self._lock:
            held = [job.held for job in self._jobs]
            posted = max(0, taken - queued - len(held))
            held += [Held("fetch", 0.0)] * queued + [Held("store", 0.0)] * posted
            return self._intake.wants(held)

    def answered(self, seconds: float) -> None:
        """Take note of how long RunPod took to hand out a job."""
        with self._lock:
            self._intake.answered(seconds)

    def _end(self, job: HeldJob, response: Response | None) -> None:
        with self._lock:
            if job in self._jobs:
                self._jobs.remove(job)
            # A stored result that was handed out again tells nothing of the device.
            if isinstance(response, Success) and response.timings.run > 0:
                timings = response.timings
                self._intake.ran(timings.fetch + timings.validate_ + _HAND_OVER, timings.run)


class HeldJob:
    """A job that the worker has. Called with its progress, on any thread."""

    def __init__(self, end: Callable[[HeldJob, Response | None], None]) -> None:
        self._end = end
        self._stage: Stage = "fetch"
        self._since = time.monotonic()

    @property
    def held(self) -> Held:
        """Where it is at this moment."""
        return Held(self._stage, time.monotonic() - self._since)

    def __call__(self, progress: JobProgress) -> None:
        """See where it is."""
        stage: Stage = "fetch"
        if progress.phase != "fetch":
            stage = "device" if progress.phase == "run" else "store"
        if stage != self._stage:
            self._stage, self._since = stage, time.monotonic()

    def ended(self, future: Future[Response]) -> None:
        """See that it has ended, also where nobody waits for it any more."""
        self._end(self, future.result())

    def refused(self) -> None:
        """See that it did not become a job."""
        self._end(self, None)


def paced_scaler(intake: WorkerIntake, take_no_more: Callable[[], bool]) -> type:
    """Return the SDK's job loop, which takes jobs when the intake wants them.

    Args:
        take_no_more: Says whether the worker has to end; called several times a second.
    """
    from runpod.serverless.modules.rp_scale import JobScaler

    class PacedScaler(JobScaler):  # type: ignore[misc] # has no types
        def __init__(self, config: dict[str, Any]) -> None:
            super().__init__(config)
            # The SDK's own is as long as its number of jobs.
            self.jobs_queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
            self._fetch_jobs: Callable[..., Any] = self.jobs_fetcher  # type: ignore[has-type]
            self.jobs_fetcher = self._fetch_and_time
            self._asked_at: float | None = None

        async def set_scale(self) -> None:
            """Wait until another job is to be taken, or the worker ends."""
            while self.is_alive():
                queued, taken = self.jobs_queue.qsize(), self.job_progress.get_job_count()
                if not take_no_more() and intake.wants(queued, taken):
                    self.current_concurrency = self.current_occupancy() + 1
                    return
                await asyncio.sleep(_LOOK)
            self.current_concurrency = self.current_occupancy()

        async def _fetch_and_time(self, *args: Any) -> Any:  # noqa: ANN401 - the SDK's own
            if self._asked_at is None:
                self._asked_at = time.monotonic()
            jobs = await self._fetch_jobs(*args)
            if jobs:
                intake.answered(time.monotonic() - self._asked_at)
                self._asked_at = None
            return jobs

    return PacedScaler
