"""The manifest: one line of JSON for each job that is done, and what a later run reads from it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from handler.contract.response import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from handler.batch.job import BatchJob
    from handler.contract.response import Response


@dataclass(frozen=True)
class Record:
    """A job that is done.

    Attributes:
        attempts: How many times this worker tried it.
    """

    job: BatchJob
    attempts: int
    response: Response

    @property
    def outcome(self) -> Outcome:
        """What a later run has to know of it."""
        error = self.response.error if isinstance(self.response, Failure) else None
        return Outcome(
            id=self.job.job_id,
            fingerprint=self.job.fingerprint,
            status=self.response.status,
            error=None if error is None else OutcomeError(code=error.code, message=error.message),
        )

    def to_line(self) -> bytes:
        """Return the manifest's line, with its end."""
        entry: dict[str, object] = {
            "id": self.job.job_id,
            "source": self.job.source,
            "fingerprint": self.job.fingerprint,
            "status": self.response.status,
            "attempts": self.attempts,
        }
        if isinstance(self.response, Failure):
            entry["error"] = self.response.error.model_dump(mode="json")
        else:
            entry["response"] = self.response.to_json()
        # Half a surrogate pair, which no UTF-8 can hold, is again the escape that JSON has for it.
        return json.dumps(entry, ensure_ascii=False).encode(errors="backslashreplace") + b"\n"


class OutcomeError(BaseModel):
    """Why a job failed; the message is empty where the manifest's index does not hold it."""

    model_config = ConfigDict(frozen=True)

    code: str
    message: str = ""


class Outcome(BaseModel):
    """How a job ended."""

    model_config = ConfigDict(frozen=True)

    id: str
    fingerprint: str
    status: Literal["succeeded", "failed"]
    error: OutcomeError | None = None

    @classmethod
    def parse(cls, line: bytes) -> Outcome | None:
        """Read a manifest's line; ``None`` for a piece of one."""
        try:
            return cls.model_validate_json(line)
        except ValidationError:
            return None


class Manifest(Protocol):
    """Where a batch's records are."""

    def refresh(self) -> None:
        """Read what was recorded since, by other workers too.

        Raises:
            StorageError: It cannot be read.
        """

    def outcome(self, job: BatchJob) -> Outcome | None:
        """Return how a job ended, as far as is known here; ``None`` where it is not done.

        A record of another request under the job's id does not count.
        """

    def look_up(self, job: BatchJob) -> Outcome | None:
        """Return how a job ended, as of now.

        Raises:
            StorageError: It cannot be read.
        """

    def append(self, record: Record) -> None:
        """Record a job. It is on the disk, or in the bucket, when this returns.

        Raises:
            StorageError: It could not be written.
        """

    def finish(self, jobs: Sequence[BatchJob]) -> None:
        """Bring the records of a batch that is done into the form that people read.

        Raises:
            StorageError: It could not be written.
        """
