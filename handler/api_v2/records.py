"""What is known of a job: as it is written on the shelf, and as a whole.

Each record has one writer, or is written once:

- The submission, by the worker that took the job.
- The running record, again and again, by the worker that has the job.
- The end, by whoever is first: that worker, or one that found it gone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from PIL.Image import Image

EndStatus = Literal["succeeded", "canceled", "failed"]
Status = Literal["queued", "running", "succeeded", "canceling", "canceled", "failed", "expired"]
OutputType = Literal["image", "video", "audio", "text", "file", "latent"]

TERMINAL = frozenset({"succeeded", "canceled", "failed", "expired"})


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Submission(_Record):
    """A job as it was taken.

    Attributes:
        created_at: Seconds since the epoch.
        worker: Who took it.
        workflow: The graph, or the installed workflow's name with its inputs, as it was sent.
        nodes_total: Nodes of the graph.
        metadata: The caller's labels.
    """

    id: str
    created_at: float
    worker: str
    workflow: dict[str, Any]
    nodes_total: int
    metadata: dict[str, str] = Field(default_factory=dict)


class ProgressRecord(_Record):
    """How far a job is; see ``Progress`` of the API."""

    value: float
    nodes_done: int
    nodes_total: int
    current_node: str | None = None
    current_node_class: str | None = None
    step: int | None = None
    steps: int | None = None
    message: str | None = None


class LogLine(_Record):
    """A line of a job's log.

    Attributes:
        at: Seconds since the epoch.
    """

    at: float
    level: str
    message: str


class Logged(_Record):
    """The last lines of a job's log.

    Attributes:
        dropped: How many lines there were before them.
    """

    dropped: int = 0
    lines: tuple[LogLine, ...] = ()


class Running(_Record):
    """A job that has not ended, as its worker last wrote it down."""

    worker: str
    started_at: float | None = None
    progress: ProgressRecord | None = None
    log: Logged = Logged()


class OutputRecord(_Record):
    """A file that a job made.

    Attributes:
        place: Among the job's outputs.
        key: On the shelf; empty for a text.
        text: The text itself, of an output that is no file.
        hash: ``blake3:<hex>``.
    """

    place: int
    node_id: str
    name: str
    type: OutputType
    content_type: str
    size_bytes: int
    hash: str | None
    key: str
    text: str | None = None


class ErrorRecord(_Record):
    """Why a job failed; see ``JobError`` of the API."""

    code: str
    message: str
    node_id: str | None = None
    class_type: str | None = None
    traceback: str | None = None
    retryable: bool = False


class Ended(_Record):
    """A job that has ended.

    Attributes:
        execution_ms: Milliseconds on the device.
    """

    status: EndStatus
    started_at: float | None
    completed_at: float
    progress: ProgressRecord | None = None
    outputs: tuple[OutputRecord, ...] = ()
    error: ErrorRecord | None = None
    execution_ms: int | None = None
    log: Logged = Logged()


@dataclass(frozen=True)
class KnownJob:
    """All that is known of a job at a moment.

    Attributes:
        queue_position: Jobs of this worker before it; ``None`` where that is not known.
        preview: The sampler's picture so far, and its node.
    """

    submission: Submission
    status: Status
    started_at: float | None = None
    queue_position: int | None = None
    progress: ProgressRecord | None = None
    log: Logged = field(default_factory=Logged)
    end: Ended | None = None
    preview: tuple[str, Image] | None = None

    @property
    def id(self) -> str:
        """The job's id."""
        return self.submission.id

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.end is not None

    @property
    def outputs(self) -> tuple[OutputRecord, ...]:
        """Its files."""
        return self.end.outputs if self.end else ()


def ended_job(submission: Submission, end: Ended) -> KnownJob:
    """Return a job that has ended."""
    return KnownJob(
        submission=submission,
        status=end.status,
        started_at=end.started_at,
        progress=end.progress,
        log=end.log,
        end=end,
    )
