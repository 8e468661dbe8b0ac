"""What a process still holds after many jobs: memory, threads, files, sockets."""

from __future__ import annotations

import gc
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.held import held
from bench.own_function import own_function
from bench.per_job import BenchmarkJobError, OwnJobs
from bench.photos import jpeg, photo
from bench.rows import Row, Spread
from bench.slow_server import slow_server
from handler.contract.response import Success
from handler.job.pool import JobPool

if TYPE_CHECKING:
    from bench.held import Held
    from bench.scale import Scale
    from handler.job.invoke import Function

_SIDE = 512
_SETTLED_AFTER = 0.1


def measure(scale: Scale) -> list[Row]:
    """Run jobs through fetch, device and store; compare a tenth of the way and at the end."""
    photos = [jpeg(photo(_SIDE, number)) for number in range(100)]
    with slow_server(_SIDE, 0.0) as url:
        settings = {
            "bucket_endpoint_url": url,
            "bucket_name": "bench",
            "bucket_access_key_id": "key",
            "bucket_secret_access_key": "secret",
        }
        with own_function(settings) as function:
            early = int(scale.flat_jobs * _SETTLED_AFTER)
            _run_jobs(function, url, range(early))
            first, first_files, first_added = _settled(), _files(), _added(function, photos, scale)
            _run_jobs(function, url, range(early, scale.flat_jobs))
            last, last_files, last_added = _settled(), _files(), _added(function, photos, scale)

    def row(what: str, unit: str, ours: list[float], other: list[float], goal: str) -> Row:
        return Row(
            group=f"{scale.flat_jobs} jobs in one process",
            what=what,
            unit=unit,
            ours=Spread.of(ours),
            other=Spread.of(other),
            compared_with=f"after {early}",
            goal=goal,
        )

    return [
        row("resident memory", "MB", [last.memory / 1e6], [first.memory / 1e6], "≤ 1.02"),
        row("threads", "", [last.threads], [first.threads], "1"),
        row(
            "files and sockets (kept connections too)",
            "",
            [last.descriptors],
            [first.descriptors],
            "1",
        ),
        row("files in the runtime's folder", "", [last_files], [first_files], "0"),
        row("added to nodes and codecs", "ms", last_added, first_added, "1"),
    ]


def _run_jobs(function: Function, url: str, numbers: range) -> None:
    pool = JobPool(function, function.settings.concurrency)
    jobs = [pool.submit(function.read(_event(url, number))) for number in numbers]
    failed = [job for job in jobs if not isinstance(job.future.result(), Success)]
    pool.close(grace=0.0)
    if failed:
        raise BenchmarkJobError(str(failed[0].future.result()))


def _event(url: str, number: int) -> dict[str, Any]:
    image = f"{url}/{number}"
    return {"id": f"job-{number}", "input": {"workflow": "invert", "image": image}}


def _added(function: Function, photos: list[bytes], scale: Scale) -> list[float]:
    jobs = OwnJobs(function)
    return [jobs.run(photos[number]).added * 1000 for number in range(min(scale.jobs, len(photos)))]


def _settled() -> Held:
    gc.collect()
    return held()


def _files() -> int:
    """Return the number of files in the folders that ComfyUI's nodes write to."""
    folder = importlib.import_module("folder_paths").get_temp_directory()
    return sum(path.is_file() for path in Path(folder).parent.rglob("*"))
