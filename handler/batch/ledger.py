"""The ledger: one line of JSON for each job that is done, from which a later run resumes."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from handler.batch.claims import Claims, NoClaims
from handler.batch.jobs import Outcome
from handler.contract.errors import ConfigurationError, StorageError
from handler.shelf import BucketAddress, FolderShelf

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from handler.batch.claims import ClaimKeeper
    from handler.batch.jobs import BatchJob, Record, Shard
    from handler.settings import Settings
    from handler.shelf import Shelf

_THREADS = 8
_RECORDS = "records/"
_RECORD_NAME = re.compile(r"(?P<place>[0-9a-f]{40}-[0-9a-f]{16})(?P<failed>\.failed)?\.json")
_JOINED = "manifest.jsonl"

log = logging.getLogger(__name__)


class Ledger(Protocol):
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


def open_ledger(
    settings: Settings, results: str, lease: float, shard: Shard | None
) -> tuple[Ledger, ClaimKeeper]:
    """Open the ledger and the claims beside it.

    Args:
        results: A file's path, or an ``s3://`` address that is used as a folder.
        lease: Seconds without a sign of life after which a worker counts as dead.
        shard: The worker's share; one that it has for itself needs no claims where none can be.

    Raises:
        ConfigurationError: The storage cannot keep claims, and the worker has no share.
        StorageError: The bucket cannot be used.
    """
    address = BucketAddress.parse(results)
    if address is None:
        path = Path(results)
        shelf = FolderShelf(path.parent, "choose another place for --results")
        return LedgerFile(path), Claims(shelf, f"{path.name}.claims/", lease)
    bucket = address.open(settings)
    ledger, claims = LedgerObjects(bucket), Claims(bucket, "claims/", lease)
    try:
        claims.check_exclusive()
    except ConfigurationError:
        if shard is None:
            raise
        return ledger, NoClaims()
    return ledger, claims


class LedgerFile:
    """A file of JSON lines.

    A line that a dying process left torn is closed by the next one to append, and counts as
    nothing. Appending takes the kernel's lock on the file, which ends with its holder and which
    NFS passes on to the server; so lines of several workers never mix.

    Args:
        path: Made, with its folders, at the first record.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._outcomes: dict[str, Outcome] = {}
        self._read_to = 0

    def refresh(self) -> None:
        """Read what was appended since; see :meth:`Ledger.refresh`."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read_to)
                for line in file:
                    self._read(line)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._unusable(error) from error

    def outcome(self, job: BatchJob) -> Outcome | None:
        """Return how a job ended; see :meth:`Ledger.outcome`."""
        outcome = self._outcomes.get(job.job_id)
        return outcome if outcome and outcome.fingerprint == job.fingerprint else None

    def look_up(self, job: BatchJob) -> Outcome | None:
        """Return how a job ended, as of now; see :meth:`Ledger.look_up`."""
        self.refresh()
        return self.outcome(job)

    def append(self, record: Record) -> None:
        """Record a job; see :meth:`Ledger.append`."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._locked() as descriptor:
                self._write(descriptor, record.to_line())
        except OSError as error:
            raise self._unusable(error) from error
        self._outcomes[record.job.job_id] = record.outcome

    def finish(self, jobs: Sequence[BatchJob]) -> None:
        """Do nothing: the file is complete."""

    def _read(self, line: bytes) -> None:
        outcome = Outcome.parse(line)
        whole = line.endswith(b"\n")
        if outcome is not None:
            self._outcomes[outcome.id] = outcome
        elif whole and line.strip():
            log.warning("line of the ledger left out", extra={"offset": self._read_to})
        if whole:
            self._read_to += len(line)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        new = not self._path.exists()
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if new:
            self._keep_name()

    def _write(self, descriptor: int, line: bytes) -> None:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line
        while line:
            line = line[os.write(descriptor, line) :]

    def _keep_name(self) -> None:
        """Put the new file's name on the disk too."""
        descriptor = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _unusable(self, error: OSError) -> StorageError:
        return StorageError(
            f"The ledger {self._path} cannot be used ({error.strerror}): free space or rights "
            "there, or choose another place for --results."
        )


class LedgerObjects:
    """An object for each job, for a bucket, where nothing can be appended to.

    The objects' keys say which jobs succeeded, so that a list of keys is enough to go on from.
    When the batch is done, the objects are joined to one file of JSON lines.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._succeeded: set[str] = set()
        self._failed: dict[str, Outcome] = {}

    def refresh(self) -> None:
        """List the records; see :meth:`Ledger.refresh`."""
        self._list("")

    def outcome(self, job: BatchJob) -> Outcome | None:
        """Return how a job ended; see :meth:`Ledger.outcome`."""
        place = _place(job)
        if place in self._succeeded:
            return Outcome(id=job.job_id, fingerprint=job.fingerprint, status="succeeded")
        return self._failed.get(place)

    def look_up(self, job: BatchJob) -> Outcome | None:
        """Return how a job ended, as of now; see :meth:`Ledger.look_up`."""
        self._list(_place(job))
        return self.outcome(job)

    def append(self, record: Record) -> None:
        """Record a job; see :meth:`Ledger.append`."""
        outcome = record.outcome
        place = _place(record.job)
        key = _record_key(place, failed=outcome.status == "failed")
        self._shelf.put(key, record.to_line(), content_type="application/json")
        if outcome.status == "succeeded":
            self._succeeded.add(place)
        else:
            self._failed[place] = outcome

    def finish(self, jobs: Sequence[BatchJob]) -> None:
        """Join the records, in the list's order; see :meth:`Ledger.finish`."""
        with tempfile.TemporaryFile() as joined, ThreadPoolExecutor(_THREADS) as threads:
            for line in threads.map(self._line, jobs):
                joined.write(line)
            joined.seek(0)
            self._shelf.put(_JOINED, joined, content_type="application/x-ndjson")

    def _line(self, job: BatchJob) -> bytes:
        place = _place(job)
        return self._shelf.get(_record_key(place, failed=place not in self._succeeded)) or b""

    def _list(self, place: str) -> None:
        for entry in self._shelf.list(_RECORDS + place):
            match = _RECORD_NAME.fullmatch(entry.key.removeprefix(_RECORDS))
            if match is None:
                continue
            if not match["failed"]:
                self._succeeded.add(match["place"])
            elif match["place"] not in self._failed:
                outcome = Outcome.parse(self._shelf.get(entry.key) or b"")
                if outcome is not None:
                    self._failed[match["place"]] = outcome


def _place(job: BatchJob) -> str:
    digest = hashlib.sha256(job.job_id.encode(errors="surrogatepass")).hexdigest()
    return f"{digest[:40]}-{job.fingerprint[:16]}"


def _record_key(place: str, *, failed: bool) -> str:
    return f"{_RECORDS}{place}{'.failed' if failed else ''}.json"
