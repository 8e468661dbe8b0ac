"""A batch's jobs: what is known of each before its event is made, and how it ended."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from handler.contract.errors import ConfigurationError
from handler.contract.response import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from handler.contract.response import Response


@dataclass(frozen=True)
class BatchJob:
    """One job of a batch.

    Attributes:
        index: Its place in the list, from 0.
        job_id: Follows from the list alone, so that a job that is done again replaces its result.
        source: Where it comes from, for people: "line 7", or the photo's name.
        fingerprint: SHA-256 of what is asked for, in hex; another one under a known id is another
            request, which the earlier result does not answer.
    """

    index: int
    job_id: str
    source: str
    fingerprint: str


class JobList(Protocol):
    """Where a batch's jobs come from."""

    @property
    def jobs(self) -> Sequence[BatchJob]:
        """Every job, in order; no two have one id."""

    def event(self, job: BatchJob) -> object:
        """Return a job's event, photos on this machine put into it.

        Raises:
            ServiceError: It cannot be made, now or at all.
        """


@dataclass(frozen=True)
class Shard:
    """A fixed share of a batch, for a worker that cannot ask the others what they do.

    Attributes:
        index: Which share, from 0.
        count: How many shares there are.
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``I/N``, such as 0/8 for the first of eight.

        Raises:
            ConfigurationError: It is not of that form.
        """
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
            raise ConfigurationError(
                f"A share is given as I/N, from 0/N to N-1/N, such as 0/8; not as {text!r}."
            )
        return cls(int(index), int(count))

    def has(self, job: BatchJob) -> bool:
        """Say whether a job belongs to the share; another order of the list changes nothing."""
        number = int.from_bytes(hashlib.sha256(job.job_id.encode(errors="replace")).digest()[:8])
        return number % self.count == self.index


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
        """Return the ledger's line, with its end."""
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
    """Why a job failed; the message is empty where the ledger's index does not hold it."""

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
        """Read a ledger's line; ``None`` for a piece of one."""
        try:
            return cls.model_validate_json(line)
        except ValidationError:
            return None


def digest(value: Any) -> str:  # noqa: ANN401 - JSON data
    """Return the SHA-256 of JSON data in hex, whatever the order of its objects' keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
