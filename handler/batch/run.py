"""A batch from its list to its report."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handler.batch.backlog import Backlog
from handler.batch.ledger import open_ledger
from handler.batch.report import make_report
from handler.batch.sources import open_job_list, with_photos_bucket
from handler.batch.worker import BatchWorker, Work
from handler.job.start import start as start_function

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from handler.batch.job import Shard
    from handler.batch.report import Report
    from handler.batch.worker import End
    from handler.job.invoke import Function
    from handler.settings import Settings


@dataclass(frozen=True)
class BatchOptions:
    """What is to be done.

    Attributes:
        source: A file of JSON lines, or a folder of photos; a path or an ``s3://`` address.
        results: The manifest: a file, or an ``s3://`` address that is used as a folder.
        job_input: For photos: every event's ``input`` without its image.
        shard: The share of this worker; ``None`` for the whole list.
        attempts: See :class:`BatchWorker`.
        retry_failed: Whether jobs that failed in an earlier run are done again.
        lease: Seconds without a sign of life after which a worker counts as dead.
    """

    source: str
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
        StorageError: The list, the manifest or the claims cannot be read or written.
        BootError: ComfyUI could not be started.
    """
    with tempfile.TemporaryDirectory() as scratch:
        job_list = open_job_list(settings, options.source, options.job_input, Path(scratch))
        manifest, claims = open_ledger(settings, options.results, options.lease, options.shard)
        manifest.refresh()
        shard = options.shard
        jobs = [job for job in job_list.jobs if shard is None or shard.has(job)]
        backlog = Backlog(jobs, manifest, retry_failed=options.retry_failed)

        def report_progress() -> None:
            on_progress(BatchProgress(len(jobs), backlog.settled, backlog.failed))

        report_progress()
        started = time.monotonic()
        end: End = "done"
        if not backlog.done:
            function = start(with_photos_bucket(settings, options.source))
            started = time.monotonic()
            work = Work(job_list, backlog, manifest, claims)
            worker = BatchWorker(function, work, options.attempts, stop, report_progress)
            end = worker.run()
        if all(manifest.outcome(job) for job in job_list.jobs):
            manifest.finish(job_list.jobs)
            claims.clear()
        return end, make_report(backlog, time.monotonic() - started)
