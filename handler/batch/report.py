"""What a batch came to, for the one who ran it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from handler.batch.backlog import Backlog

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
