"""A batch's jobs: what is known of each before its event is made."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

from handler.contract.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence


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


def digest(value: Any) -> str:  # noqa: ANN401 - JSON data
    """Return the SHA-256 of JSON data in hex, whatever the order of its objects' keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
