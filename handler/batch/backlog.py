"""What a worker still has to do, and how the rest of its jobs ended."""

from __future__ import annotations

import secrets
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from handler.batch.job import BatchJob
    from handler.batch.manifest import Manifest, Outcome


class Backlog:
    """The jobs of one worker. For one thread.

    Args:
        jobs: The worker's share, or the whole list.
        manifest: Already refreshed.
        retry_failed: Whether jobs that failed before are to be done again.
    """

    def __init__(self, jobs: Sequence[BatchJob], manifest: Manifest, *, retry_failed: bool) -> None:
        self._manifest = manifest
        self._outcomes: dict[str, Outcome] = {}
        self._failed = 0
        self._again: dict[str, Outcome] = {}
        self.jobs = jobs
        for job in jobs:
            outcome = manifest.outcome(job)
            if retry_failed and outcome is not None and outcome.status == "failed":
                self._again[job.job_id] = outcome
        self._waiting = deque(job for job in jobs if not self._settle(job, manifest.outcome(job)))

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """How the jobs that are done ended, by id."""
        return self._outcomes

    @property
    def settled(self) -> int:
        """How many jobs are done."""
        return len(self._outcomes)

    @property
    def failed(self) -> int:
        """How many of those that are done failed."""
        return self._failed

    @property
    def done(self) -> bool:
        """Whether every job is done."""
        return self.settled == len(self.jobs)

    @property
    def waiting(self) -> int:
        """How many jobs wait for this worker to take them."""
        return len(self._waiting)

    def next(self) -> BatchJob:
        """Take the next job out.

        Raises:
            IndexError: None waits.
        """
        return self._waiting.popleft()

    def put_back(self, job: BatchJob) -> None:
        """Put a job at the end that another worker has at present.

        Who meets another worker's job goes on elsewhere in the list, so that two do not walk
        through it one behind the other.
        """
        if self._waiting:
            self._waiting.rotate(-secrets.randbelow(len(self._waiting)))
        self._waiting.append(job)

    def is_done(self, job: BatchJob) -> bool:
        """Say whether a job is recorded as done, as of now."""
        return self._settle(job, self._manifest.look_up(job))

    def refresh(self) -> None:
        """Take out what other workers have done since."""
        self._manifest.refresh()
        self._waiting = deque(
            job for job in self._waiting if not self._settle(job, self._manifest.outcome(job))
        )

    def settle(self, job: BatchJob, outcome: Outcome) -> None:
        """Note how a job ended."""
        if job.job_id not in self._outcomes:
            self._failed += outcome.error is not None
        self._outcomes[job.job_id] = outcome

    def _settle(self, job: BatchJob, outcome: Outcome | None) -> bool:
        if outcome is None or outcome == self._again.get(job.job_id):
            return False
        self.settle(job, outcome)
        return True
