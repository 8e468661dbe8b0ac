"""The manifest as a file that only grows; several workers may append to it."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from typing import TYPE_CHECKING

from handler.batch.manifest import Outcome
from handler.contract.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from handler.batch.job import BatchJob
    from handler.batch.manifest import Record

log = logging.getLogger(__name__)


class ManifestFile:
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
        """Read what was appended since; see :meth:`Manifest.refresh`."""
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
        """Return how a job ended; see :meth:`Manifest.outcome`."""
        outcome = self._outcomes.get(job.job_id)
        return outcome if outcome and outcome.fingerprint == job.fingerprint else None

    def look_up(self, job: BatchJob) -> Outcome | None:
        """Return how a job ended, as of now; see :meth:`Manifest.look_up`."""
        self.refresh()
        return self.outcome(job)

    def append(self, record: Record) -> None:
        """Record a job; see :meth:`Manifest.append`."""
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
            log.warning("line of the manifest left out", extra={"offset": self._read_to})
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
            f"The manifest {self._path} cannot be used ({error.strerror}): free space or rights "
            "there, or choose another place for --results."
        )
