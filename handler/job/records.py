"""Records of jobs that outlive the process, so that callers can learn what became of them.

Each process has a folder of its own, with a lock that the system lets go of when the process ends,
however it ends. Whoever starts next and gets the lock takes the records over:

- The job that was on the device is lost with its process, and so is one that has been taken over
  several times; its caller is told so.
- Jobs that waited beside it are done, if somebody may still ask for them.
- Jobs that had ended can be asked for as before.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict

from comfyui_runtime.folder_lock import is_left, lock_folder
from handler.contract.errors import StorageError, WorkerLostError
from handler.contract.job_id import JobId
from handler.contract.response import Failure, Success, failure
from handler.contract.worker_comfyui import Shape
from handler.job.black_box import BlackBox, OnDevice, read_black_box
from handler.shelf import FolderShelf

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from handler.contract.progress import JobProgress
    from handler.contract.response import Response
    from handler.settings import Settings

_FOLDER_IN_RESULTS = ".jobs"
_DEVICE = ".device"
_MOST_TRIES = 3

log = logging.getLogger(__name__)


class _Record(BaseModel):
    """One job, as its file has it."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    given_id: str | None
    tries: int = 1
    event: Any = None
    response: dict[str, Any] | None = None
    http_status: int = 200
    shape: Shape = "own"
    ended_at: float | None = None

    @classmethod
    def of_ended(cls, job_id: JobId, response: Response, ended_at: float) -> Self:
        """Return the record of a job that has ended."""
        return cls(
            job_id=job_id,
            given_id=job_id.given,
            response=response.to_json(),
            http_status=response.http_status if isinstance(response, Failure) else 200,
            shape=response.shape,
            ended_at=ended_at,
        )

    def read_response(self) -> Response | None:
        """Return the job's response, if it had ended."""
        if self.response is None:
            return None
        if self.response["status"] == "succeeded":
            return Success.model_validate({**self.response, "shape": self.shape})
        told = {"http_status": self.http_status, "shape": self.shape}
        return Failure.model_validate({**self.response, **told})


@dataclass(frozen=True)
class WaitingJob:
    """A job of a process that is gone, to be done here.

    Attributes:
        event: Decoded JSON.
        tries: How many processes have held it, this one included.
    """

    job_id: JobId
    event: object
    tries: int


@dataclass(frozen=True)
class EndedJob:
    """A job of a process that is gone, and its response.

    Attributes:
        ended_at: Seconds since the epoch.
        event: Decoded JSON, of a job that was lost just now: nobody was told of its end.
    """

    job_id: JobId
    response: Response
    ended_at: float
    event: object = field(default=None, compare=False)


@dataclass
class Inheritance:
    """What processes that are gone have left."""

    waiting: list[WaitingJob] = field(default_factory=list)
    ended: list[EndedJob] = field(default_factory=list)


class JobRecords:
    """This process's records. Safe from any thread.

    A record that cannot be written costs the job nothing: the log says so.

    Args:
        folder: Of all processes.

    Raises:
        StorageError: The folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self._all = folder.absolute()
        own = self._all / uuid.uuid4().hex
        try:
            own.mkdir(parents=True)
            self._lock: int | None = lock_folder(own)
            self._box = BlackBox(own / _DEVICE)
        except OSError as error:
            raise StorageError(
                f"The folder {self._all} for records of jobs cannot be used ({error.strerror}): "
                "free space or rights there, or set JOB_RECORDS_DIR to another folder."
            ) from error
        self._own = own
        self._shelf = FolderShelf(own, "set JOB_RECORDS_DIR to another folder", synced=False)
        self._on_device: OnDevice | None = None
        self._noting = threading.Lock()

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Return this process's records, in JOB_RECORDS_DIR or else in RESULTS_DIR."""
        return cls(settings.job_records_dir or settings.results_dir / _FOLDER_IN_RESULTS)

    def inherit(self) -> Inheritance:
        """Take over what processes that are gone have left, at the start."""
        inheritance = Inheritance()
        for folder in sorted(self._all.iterdir()):
            if folder != self._own:
                with is_left(folder) as left:
                    if left:
                        self._take_over(folder, inheritance)
        return inheritance

    def taken(self, job_id: JobId, event: object, tries: int = 1) -> None:
        """Record a job that was taken.

        Args:
            event: Decoded JSON, to do the job again after a crash; ``None`` where nobody could ask
                for its result then.
        """
        self._put(_Record(job_id=job_id, given_id=job_id.given, event=event, tries=tries))

    def ended(self, job_id: JobId, response: Response) -> None:
        """Record a job's response."""
        self.left_device(job_id)
        self._put(_Record.of_ended(job_id, response, time.time()))

    def forget(self, job_id: JobId) -> None:
        """Remove a job's record."""
        with _logged():
            self._shelf.delete(_name(job_id))

    def progressed(self, job_id: JobId, progress: JobProgress) -> None:
        """Note what is on the device. Called at every step: it does nothing unless that changed."""
        if progress.phase == "run":
            self._note(OnDevice(job_id=job_id, title=progress.node))
        else:
            self.left_device(job_id)

    def left_device(self, job_id: JobId) -> None:
        """Note that a job is not on the device, if it was."""
        with self._noting:
            if self._on_device is not None and self._on_device.job_id == job_id:
                self._on_device = None
                self._box.note(None)

    def _note(self, state: OnDevice) -> None:
        with self._noting:
            if state != self._on_device:
                self._on_device = state
                self._box.note(state)

    def close(self) -> None:
        """Leave the records to the next process."""
        self._box.close()
        # Twice would close whatever has the number by then.
        lock, self._lock = self._lock, None
        if lock is not None:
            with contextlib.suppress(OSError):
                os.close(lock)

    def _take_over(self, folder: Path, inheritance: Inheritance) -> None:
        on_device = read_black_box(folder / _DEVICE)
        for path in sorted(folder.glob("*.json")):
            try:
                record = _Record.model_validate_json(path.read_bytes())
                job_id = JobId(record.job_id, record.given_id)
                self._inherit_job(job_id, record, on_device, inheritance)
            except (OSError, ValueError):  # pydantic's errors are ValueErrors
                log.warning("record of a job cannot be read", extra={"path": str(path)})
        log.info("took over the jobs of a worker that is gone", extra={"folder": str(folder)})
        shutil.rmtree(folder, ignore_errors=True)

    def _inherit_job(
        self,
        job_id: JobId,
        record: _Record,
        on_device: OnDevice | None,
        inheritance: Inheritance,
    ) -> None:
        found = on_device if on_device is not None and on_device.job_id == job_id else None
        response = record.read_response()
        if response is not None:
            pass
        elif found is not None or record.event is None or record.tries >= _MOST_TRIES:
            node = found.title if found is not None else None
            response = failure(job_id, _lost(node))
            log.error("job lost with its worker", extra={"job": job_id, "node": node})
        else:
            tries = record.tries + 1
            self.taken(job_id, record.event, tries)
            inheritance.waiting.append(WaitingJob(job_id, record.event, tries))
            return
        ended_at = record.ended_at or time.time()
        self._put(_Record.of_ended(job_id, response, ended_at))
        inheritance.ended.append(EndedJob(job_id, response, ended_at, record.event))

    def _put(self, record: _Record) -> None:
        with _logged():
            self._shelf.put(_name(record.job_id), record.model_dump_json(by_alias=True).encode())


def _lost(node: str | None) -> WorkerLostError:
    at = f', in the node "{node}"' if node else ""
    return WorkerLostError(
        f"The worker ended while it worked on the job{at}. Send the job again; if that ends the "
        "same way, look in the platform's log for what ended the process (memory, most often).",
        node=node,
    )


def _name(job_id: str) -> str:
    return f"{job_id}.json"


@contextlib.contextmanager
def _logged() -> Iterator[None]:
    try:
        yield
    except StorageError as error:
        log.warning("record of a job cannot be written", extra={"error": error.message})
