"""A batch from its list to its report."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from handler.batch.backlog import Backlog, make_report
from handler.batch.event_list import EventList
from handler.batch.ledger import open_ledger
from handler.batch.photos import bucket_photos, check_results_are_elsewhere, folder_photos
from handler.batch.worker import BatchWorker, Work
from handler.contract.errors import EventError
from handler.contract.job_id import JobId
from handler.job.request import read_request
from handler.job.start import start as start_function
from handler.shelf import BucketAddress
from handler.shelf.refusals import bucket_failures
from handler.shelf.s3 import resolve_bucket, s3_client
from handler.webhooks import open_webhooks

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from handler.batch.backlog import Report
    from handler.batch.jobs import JobList, Shard
    from handler.batch.worker import End
    from handler.job.invoke import Function
    from handler.settings import Settings

_LIST_SUFFIXES = frozenset({".jsonl", ".ndjson"})
# Stands for a photo where an event is checked before there is one.
_SOME_PHOTO = "s3://bucket/photo.jpg"


@dataclass(frozen=True)
class BatchOptions:
    """What is to be done.

    Attributes:
        place: A file of JSON lines, or a folder of photos; a path or an ``s3://`` address.
        results: The ledger: a file, or an ``s3://`` address that is used as a folder.
        job_input: For photos: every event's ``input`` without its image.
        shard: The share of this worker; ``None`` for the whole list.
        attempts: See :class:`BatchWorker`.
        retry_failed: Whether jobs that failed in an earlier run are done again.
        lease: Seconds without a sign of life after which a worker counts as dead.
    """

    place: str
    results: str
    job_input: Mapping[str, Any] = field(default_factory=dict)
    shard: Shard | None = None
    attempts: int = 3
    retry_failed: bool = False
    lease: float = 60.0


@dataclass(frozen=True)
class BatchProgress:
    """How far a worker's share is.

    Attributes:
        jobs: All of them.
        done: Those that are recorded, by whichever worker and run.
        failed: Of those that are done.
    """

    jobs: int
    done: int
    failed: int


def run_batch(
    settings: Settings,
    options: BatchOptions,
    stop: threading.Event,
    on_progress: Callable[[BatchProgress], None],
    start: Callable[[Settings], Function] = start_function,
) -> tuple[End, Report]:
    """Do what is left of a batch. ComfyUI is started only if anything is.

    Args:
        stop: Set from outside to end early: jobs under way are finished, no more are taken.
        on_progress: Called at the start and at every change.
        start: Boots the function.

    Raises:
        EventError: The list cannot be used.
        ConfigurationError: The settings and the options do not go together.
        ParameterError: The photos' workflow does not take the parameters.
        UnknownWorkflowError: There is no such workflow.
        StorageError: The list, the ledger or the claims cannot be read or written.
        BootError: ComfyUI could not be started.
    """
    with tempfile.TemporaryDirectory() as scratch:
        job_list = _open_job_list(settings, options.place, options.job_input, Path(scratch))
        ledger, claims = open_ledger(settings, options.results, options.lease, options.shard)
        ledger.refresh()
        shard = options.shard
        jobs = [job for job in job_list.jobs if shard is None or shard.has(job)]
        backlog = Backlog(jobs, ledger, retry_failed=options.retry_failed)

        def report_progress() -> None:
            on_progress(BatchProgress(len(jobs), backlog.settled, backlog.failed))

        report_progress()
        started = time.monotonic()
        end: End = "done"
        if not backlog.done:
            function = start(_with_photos_bucket(settings, options.place))
            started = time.monotonic()
            webhooks = open_webhooks(settings)
            work = Work(job_list, backlog, ledger, claims, webhooks)
            try:
                worker = BatchWorker(function, work, options.attempts, stop, report_progress)
                end = worker.run()
            finally:
                if webhooks is not None:
                    webhooks.close()
        if all(ledger.outcome(job) for job in job_list.jobs):
            ledger.finish(job_list.jobs)
            claims.clear()
        return end, make_report(backlog, time.monotonic() - started)


def _open_job_list(
    settings: Settings, place: str, job_input: Mapping[str, Any], scratch: Path
) -> JobList:
    """Open a list of events, which is known by its name's end, or a place with photos.

    Args:
        place: A path or an ``s3://`` address.
        job_input: For photos: every event's ``input`` without its image. Empty for a list.
        scratch: A folder for a copy of a list that is in a bucket.

    Raises:
        EventError: The list cannot be used, or does not go with ``job_input``.
        ConfigurationError: Results would be stored among the photos.
        ParameterError: The workflow does not take these parameters, or not one photo.
        UnknownWorkflowError: There is no such workflow.
        StorageError: The bucket cannot be read.
    """
    address = BucketAddress.parse(place)
    name = place if address is None else address.key
    if PurePosixPath(name).suffix.lower() in _LIST_SUFFIXES:
        if job_input:
            raise EventError(
                "The lines of a list are whole events: give workflow, parameters and output in "
                f"them, not as options ({', '.join(sorted(job_input))})."
            )
        if address is None:
            return EventList(Path(name), Path(name).parent)
        return EventList(_fetched(settings, address, scratch), None)
    _check_job_input(settings, job_input)
    results = _results_address(settings, job_input)
    if address is None:
        check_results_are_elsewhere(results, str(Path(name).absolute()))
        return folder_photos(Path(name), job_input)
    check_results_are_elsewhere(results, f"s3://{address.bucket}/{address.folder}")
    return bucket_photos(settings, address, job_input)


def _with_photos_bucket(settings: Settings, place: str) -> Settings:
    """Return settings that let the worker read the photos' bucket, which the operator named."""
    address = BucketAddress.parse(place)
    if address is None:
        return settings
    return settings.model_copy(update={"input_buckets": settings.input_buckets | {address.bucket}})


def _fetched(settings: Settings, address: BucketAddress, scratch: Path) -> Path:
    path = scratch / "events.jsonl"
    with bucket_failures(address.bucket), path.open("wb") as file:
        s3_client(settings).download_fileobj(address.bucket, address.key, file)
    return path


def _check_job_input(settings: Settings, job_input: Mapping[str, Any]) -> None:
    """Find out before ComfyUI is started what would fail every job."""
    if "workflow" not in job_input:
        raise EventError("Say with --workflow what is to be done with the photos.")
    event = {"input": {**job_input, "image": _SOME_PHOTO}}
    read_request(event, JobId.new(), settings)


def _results_address(settings: Settings, job_input: Mapping[str, Any]) -> str:
    bucket = resolve_bucket(settings)
    if bucket is None:
        root = str(settings.results_dir.absolute())
    else:
        root = f"s3://{bucket.name}/{settings.bucket_prefix.strip('/')}"
    prefix = job_input.get("output", {}).get("prefix", "")
    return f"{root.rstrip('/')}/{prefix}"
