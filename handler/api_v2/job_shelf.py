"""The records of jobs on the shelf, where every worker finds them."""

from __future__ import annotations

import hashlib
import logging
import time
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from handler.api_v2.ids import created_at, flipped, is_job_id
from handler.api_v2.records import Ended, Running, Submission
from handler.api_v2.remembered import Remembered
from handler.assets.keys import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from handler.shelf import Shelf

    AnyRecord = TypeVar("AnyRecord", bound=BaseModel)

_JOBS = f"{ROOT}/jobs/"
_RUNNING = f"{ROOT}/running/"
_ENDS = f"{ROOT}/ends/"
_CANCELS = f"{ROOT}/cancels/"
_WORKERS = f"{ROOT}/workers/"
_KEYS = f"{ROOT}/keys/"
_KEY_SECONDS = 86_400.0
_READS, _BETWEEN_READS = 10, 0.05

log = logging.getLogger(__name__)


class JobShelf:
    """Records of jobs. Safe from any thread.

    Every method raises ``StorageError`` where the shelf refuses.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        # What is written once need not be read twice.
        self._submissions = Remembered[Submission]()
        self._ends = Remembered[Ended]()

    def submit(self, submission: Submission) -> None:
        """Write a job down, before its caller is told that it was taken."""
        data = submission.model_dump_json().encode()
        self._shelf.put(_job_key(submission.id), data)
        self._submissions.put(submission.id, submission, len(data))

    def submission(self, job_id: str) -> Submission | None:
        """Return a job as it was taken; ``None`` where there is no such job."""
        if not is_job_id(job_id):
            return None
        return self._remembered(self._submissions, job_id, _job_key(job_id), Submission)

    def run(self, job_id: str, running: Running) -> None:
        """Write down how far a job is."""
        self._shelf.put(_key(_RUNNING, job_id), running.model_dump_json().encode())

    def running(self, job_id: str) -> Running | None:
        """Return how far a job is, where its worker has written that down."""
        return self._read(_key(_RUNNING, job_id), Running)

    def end(self, job_id: str, end: Ended) -> Ended:
        """Write down how a job ended, unless somebody has done so; return what stands there."""
        key = _key(_ENDS, job_id)
        data = end.model_dump_json().encode()
        if self._shelf.create(key, data):
            self._ends.put(job_id, end, len(data))
            return end
        found = self._read_whole(key)
        if found is None:  # its writer died between two steps
            self._shelf.put(key, data)
        return found or end

    def _read_whole(self, key: str) -> Ended | None:
        """Read an end that is there, though in a folder it may be empty for a moment."""
        for _ in range(_READS):
            found = self._read(key, Ended)
            if found is not None:
                return found
            time.sleep(_BETWEEN_READS)
        return None

    def replace_end(self, job_id: str, end: Ended) -> None:
        """Write down that an ended job has other outputs."""
        data = end.model_dump_json().encode()
        self._shelf.put(_key(_ENDS, job_id), data)
        self._ends.put(job_id, end, len(data))

    def ended(self, job_id: str) -> Ended | None:
        """Return how a job ended; ``None`` where it has not."""
        return self._remembered(self._ends, job_id, _key(_ENDS, job_id), Ended)

    def drop_running(self, job_id: str) -> None:
        """Remove the record of a job's run, once its end is written down."""
        self._shelf.delete(_key(_RUNNING, job_id))

    def drop_cancel(self, job_id: str) -> None:
        """Remove the word that a job is to be cancelled, once its end is written down."""
        self._shelf.delete(_key(_CANCELS, job_id))

    def ask_to_cancel(self, job_id: str) -> None:
        """Leave word for the worker that has a job."""
        self._shelf.create(_key(_CANCELS, job_id), b"1")

    def asked_to_cancel(self, job_id: str) -> bool:
        """Say whether word was left that a job is to be cancelled."""
        return self._shelf.stat(_key(_CANCELS, job_id)) is not None

    def all_asked_to_cancel(self) -> set[str]:
        """Return the jobs for which word was left."""
        return {flipped(entry.key.removeprefix(_CANCELS)) for entry in self._shelf.list(_CANCELS)}

    def beat(self, worker: str) -> None:
        """Write down that a worker lives."""
        self._shelf.put(_WORKERS + worker, str(time.time()).encode())

    def last_beat(self, worker: str) -> float | None:
        """Return when a worker last lived, in seconds since the epoch; ``None`` for long ago."""
        data = self._shelf.get(_WORKERS + worker)
        try:
            return None if data is None else float(data)
        except ValueError:
            return None

    def ids(self, after: str | None = None) -> Iterator[str]:
        """Yield the ids of all jobs, the newest first.

        Args:
            after: Only those that are older than this one.
        """
        start = "" if after is None else _job_key(after)
        for entry in self._shelf.list(_JOBS, after=start):
            job_id = flipped(entry.key.removeprefix(_JOBS))
            if is_job_id(job_id):
                yield job_id

    def claim(self, key: str) -> bool:
        """Take an idempotency key; return ``False`` where an earlier request did within a day."""
        where = _key_key(key)
        if self._shelf.create(where, b"1"):
            return True
        found = self._shelf.stat(where)
        if found is not None and time.time() - found.written_at < _KEY_SECONDS:
            return False
        self._shelf.put(where, b"1")
        return True

    def release(self, key: str) -> None:
        """Give an idempotency key back."""
        self._shelf.delete(_key_key(key))

    def forget(self, job_id: str) -> None:
        """Remove all records of a job, and its results."""
        end = self.ended(job_id)
        for output in end.outputs if end else ():
            if output.key:
                self._shelf.delete(output.key)
        for folder in (_RUNNING, _CANCELS, _ENDS):
            self._shelf.delete(_key(folder, job_id))
        self._shelf.delete(_job_key(job_id))
        self._ends.pop(job_id)
        self._submissions.pop(job_id)

    def sweep(self, kept_seconds: float, most: int) -> int:
        """Forget jobs that are too old or too many. Any number of workers may do so at once.

        Returns:
            How many were forgotten.
        """
        oldest = time.time() - kept_seconds
        gone = 0
        for number, job_id in enumerate(list(self.ids())):
            if number >= most or created_at(job_id) < oldest:
                self.forget(job_id)
                gone += 1
        yesterday = time.time() - _KEY_SECONDS
        for folder in (_KEYS, _WORKERS):
            for entry in list(self._shelf.list(folder)):
                if entry.written_at < yesterday:
                    self._shelf.delete(entry.key)
        return gone

    def _remembered(
        self, values: Remembered[AnyRecord], job_id: str, key: str, kind: type[AnyRecord]
    ) -> AnyRecord | None:
        known = values.get(job_id)
        if known is not None:
            return known
        data = self._shelf.get(key)
        record = _parse(key, data, kind)
        if data and record is not None:
            values.put(job_id, record, len(data))
        return record

    def _read(self, key: str, kind: type[AnyRecord]) -> AnyRecord | None:
        return _parse(key, self._shelf.get(key), kind)


def _parse(key: str, data: bytes | None, kind: type[AnyRecord]) -> AnyRecord | None:
    if not data:
        return None
    try:
        return kind.model_validate_json(data)
    except ValidationError:
        log.warning("record of a job cannot be read", extra={"key": key})
        return None


def _key(folder: str, job_id: str) -> str:
    return folder + flipped(job_id)


def _job_key(job_id: str) -> str:
    return _key(_JOBS, job_id)


def _key_key(key: str) -> str:
    return _KEYS + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
