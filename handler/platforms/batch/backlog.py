"""What a worker still has to do, and how the rest of its jobs ended."""

from __future__ import annotations

import secrets
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from handler.platforms.batch.job import BatchJob
    from handler.platforms.batch.manifest import Manifest, Outcome


class Backlog:
    """The jobs of one worker. For one thread.

    Args:
        jobs: The worker's share, or the whole list.
        manifest: Already refreshed.
        retry_failed: Whether jobs that failed before are to be done again.
    """

    def __init__(
        self, jobs: Sequence[BatchJob], manifest: Manifest, *, retry_failed: bool
    ) -> None:
        self._manifest = manifest
        self._outcomes: dict[str, Outcome] = {}
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
    def empty(self) -> bool:
        """Whether no job waits for this worker to take it."""
        return not self._waiting

    def next(self) -> BatchJob | None:
        """Take the next job out."""
        return self._waiting.popleft() if self._waiting else None

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

    def settle(self, job: BatchJob) -> None:
        """Note that a job was recorded just now."""
        outcome = self._manifest.outcome(job)
        if outcome is not None:
            self._outcomes[job.job_id] = outcome

    def _settle(self, job: BatchJob, outcome: Outcome | None) -> bool:
        if outcome is None or outcome == self._again.get(job.job_id):
            return False
        self._outcomes[job.job_id] = outcome
        return True
