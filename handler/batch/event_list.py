"""A list of events in a file of JSON lines."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from handler.batch.jobs import BatchJob, digest
from handler.contract.errors import EventError
from handler.inputs.local_images import inline_local_image

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventList:
    """Events, one per line; empty lines are left out.

    A line without an id gets one that follows from its content, so that lines may be added and
    moved between two runs. Only the lines' places in the file are held in memory.

    Args:
        path: The file. It must stay as it is while the batch runs.
        images_dir: What photos on this machine's disk are named relative to; ``None`` where the
            list names none.

    Raises:
        EventError: The file cannot be read, or two different events have one id.
    """

    def __init__(self, path: Path, images_dir: Path | None) -> None:
        self._path = path
        self._images_dir = images_dir
        self._places: list[tuple[int, int]] = []
        self._jobs: list[BatchJob] = []
        try:
            self._index()
        except OSError as error:
            raise EventError(f"{path} cannot be read: {error.strerror}.") from error

    @property
    def jobs(self) -> Sequence[BatchJob]:
        """Every job, in the order of the lines."""
        return self._jobs

    def event(self, job: BatchJob) -> object:
        """Return a job's event; its images that are files of this machine are put into it.

        Raises:
            EventError: The line is not JSON, a photo cannot be read, or the file has changed.
        """
        offset, length = self._places[job.index]
        try:
            with self._path.open("rb") as file:
                file.seek(offset)
                line = file.read(length)
        except OSError as error:
            raise EventError(f"{self._path} cannot be read: {error.strerror}.") from error
        event = _parse(line, job.source)
        if _fingerprint(event) != job.fingerprint:
            raise EventError(
                f"{self._path} was changed while the batch runs ({job.source}): run it again."
            )
        if not isinstance(event, dict):
            return event
        if event.get("id") is None:
            event["id"] = job.job_id
        return self._with_images(event)

    def _with_images(self, event: dict[str, Any]) -> dict[str, Any]:
        job_input = event.get("input")
        if self._images_dir is None or not isinstance(job_input, dict):
            return event
        if isinstance(job_input.get("image"), str):
            job_input["image"] = inline_local_image(job_input["image"], self._images_dir)
        for table in ("images", "files"):
            if isinstance(job_input.get(table), dict):
                job_input[table] = {
                    name: inline_local_image(source, self._images_dir)
                    if isinstance(source, str)
                    else source
                    for name, source in job_input[table].items()
                }
        return event

    def _index(self) -> None:
        known: dict[str, BatchJob] = {}
        repeats: Counter[str] = Counter()
        offset = 0
        with self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                start, offset = offset, offset + len(line)
                if number == 1 and line.startswith(_BYTE_ORDER_MARK):
                    start, line = start + len(_BYTE_ORDER_MARK), line[len(_BYTE_ORDER_MARK) :]  # noqa: PLW2901
                if not line.strip():
                    continue
                job = self._job(line, f"line {number}", repeats)
                if job.job_id in known:
                    _check_same(job, known[job.job_id])
                    continue
                known[job.job_id] = job
                self._jobs.append(job)
                self._places.append((start, len(line)))

    def _job(self, line: bytes, source: str, repeats: Counter[str]) -> BatchJob:
        try:
            event = _parse(line, source)
        except EventError:
            # It is a job like the others, one that fails: the rest of the list is done.
            fingerprint = hashlib.sha256(line.strip()).hexdigest()
            event = None
        else:
            fingerprint = _fingerprint(event)
        match event:
            case {"id": str() as job_id} if job_id:
                pass
            case _:
                repeats[fingerprint] += 1
                number = repeats[fingerprint]
                job_id = f"job-{fingerprint[:16]}" + (f"-{number}" if number > 1 else "")
        return BatchJob(len(self._jobs), job_id, source, fingerprint)


def _parse(line: bytes, source: str) -> Any:  # noqa: ANN401 - JSON data
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise EventError(f"The {source} is not JSON: {error}.") from error


def _fingerprint(event: Any) -> str:  # noqa: ANN401 - JSON data
    return digest(event)


def _check_same(job: BatchJob, earlier: BatchJob) -> None:
    if job.fingerprint != earlier.fingerprint:
        raise EventError(
            f"{earlier.source} and {job.source} are different events with the id {job.job_id!r}: "
            "each would replace the other's result. Give each an id of its own, or none.",
            id=job.job_id,
        )
