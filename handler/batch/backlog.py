"""What a worker still has to do, how the rest of its jobs ended, and the report of both."""

from __future__ import annotations

import secrets
from collections import deque
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Sequence

    from handler.batch.jobs import BatchJob, Outcome
    from handler.batch.ledger import Ledger

_EXAMPLES = 3


class FailureGroup(BaseModel):
    """Jobs that failed for one reason."""

    model_config = ConfigDict(frozen=True)

    code: str
    jobs: int
    sources: list[str] = Field(description="The first few of them.")
    message: str = Field(description="The first one's.")


class Report(BaseModel):
    """The state of a worker's share of a batch, the work of earlier and other workers included."""

    model_config = ConfigDict(frozen=True)

    jobs: int
    succeeded: int
    failed: int
    left: int = Field(description="Not done: the worker was stopped, or cannot go on.")
    seconds: float = Field(description="Of this run, the start of ComfyUI not counted.")
    failures: list[FailureGroup] = Field(description="By error code, the most frequent first.")


class Backlog:
    """The jobs of one worker. For one thread.

    Args:
        jobs: The worker's share, or the whole list.
        ledger: Already refreshed.
        retry_failed: Whether jobs that failed before are to be done again.
    """

    def __init__(self, jobs: Sequence[BatchJob], ledger: Ledger, *, retry_failed: bool) -> None:
        self._ledger = ledger
        self._outcomes: dict[str, Outcome] = {}
        self._failed = 0
        self._again: dict[str, Outcome] = {}
        self.jobs = jobs
        for job in jobs:
            outcome = ledger.outcome(job)
            if retry_failed and outcome is not None and outcome.status == "failed":
                self._again[job.job_id] = outcome
        self._waiting = deque(job for job in jobs if not self._settle(job, ledger.outcome(job)))

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
        return self._settle(job, self._ledger.look_up(job))

    def refresh(self) -> None:
        """Take out what other workers have done since."""
        self._ledger.refresh()
        self._waiting = deque(
            job for job in self._waiting if not self._settle(job, self._ledger.outcome(job))
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


def make_report(backlog: Backlog, seconds: float) -> Report:
    """Count how a backlog's jobs ended."""
    groups: dict[str, list[tuple[str, str]]] = {}
    succeeded = 0
    for job in backlog.jobs:
        outcome = backlog.outcomes.get(job.job_id)
        if outcome is None:
            continue
        if outcome.error is None:
            succeeded += 1
        else:
            failures = groups.setdefault(outcome.error.code, [])
            failures.append((job.source, outcome.error.message))
    failed = sum(len(group) for group in groups.values())
    return Report(
        jobs=len(backlog.jobs),
        succeeded=succeeded,
        failed=failed,
        left=len(backlog.jobs) - succeeded - failed,
        seconds=round(seconds, 1),
        failures=[
            FailureGroup(
                code=code,
                jobs=len(group),
                sources=[source for source, _ in group[:_EXAMPLES]],
                message=group[0][1],
            )
            for code, group in sorted(groups.items(), key=lambda item: -len(item[1]))
        ],
    )
