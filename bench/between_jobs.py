"""Device utilization while photos are fetched and results are stored."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from bench.own_function import own_function
from bench.per_job import BenchmarkJobError
from bench.rows import Row, Spread
from bench.slow_server import slow_server
from handler.contract.response import Success
from handler.job.pool import JobPool

if TYPE_CHECKING:
    from bench.scale import Scale
    from handler.contract.response import Response
    from handler.job.invoke import Function

_SIDE = 256
_SEQUENTIAL_SHARE = 5


def measure(scale: Scale) -> list[Row]:
    """Run jobs whose fetch, run and store take equally long: overlapped, then sequentially."""
    jobs = scale.overlapped_jobs
    with slow_server(_SIDE, scale.hold_seconds) as url:
        settings = {
            "bucket_endpoint_url": url,
            "bucket_name": "bench",
            "bucket_access_key_id": "key",
            "bucket_secret_access_key": "secret",
        }
        with own_function(settings, node_pack=True) as function:
            events = [_event(url, number, scale.hold_seconds) for number in range(jobs)]
            function.answer(events[0])  # imports what a job needs
            overlapped = _busy_share(function, events, _overlapped)
            sequential = _busy_share(function, events[::_SEQUENTIAL_SHARE], _sequential)
    row = Row(
        group="between jobs",
        what=f"device busy, {jobs} jobs, fetch = run = store = {scale.hold_seconds:g} s",
        unit="of the time",
        ours=Spread.of([overlapped]),
        other=Spread.of([sequential]),
        compared_with="one after the other",
        goal="ours ≥ 0.95",
    )
    return [row]


def _event(url: str, number: int, seconds: float) -> dict[str, Any]:
    job_input = {
        "workflow": "hold",
        "image": f"{url}/{number}",
        "params": {"seconds": seconds},
    }
    return {"id": f"job-{number}", "input": job_input}


def _busy_share(function: Function, events: list[dict[str, Any]], run: Any) -> float:  # noqa: ANN401
    busy, started = function.runtime.busy_seconds, time.perf_counter()
    responses: list[Response] = run(function, events)
    seconds = time.perf_counter() - started
    failed = [response for response in responses if not isinstance(response, Success)]
    if failed:
        raise BenchmarkJobError(str(failed[0]))
    return (function.runtime.busy_seconds - busy) / seconds


def _overlapped(function: Function, events: list[dict[str, Any]]) -> list[Response]:
    pool = JobPool(function, function.settings.concurrency)
    jobs = [pool.submit(function.read(event)) for event in events]
    responses = [job.future.result() for job in jobs]
    pool.close(grace=0.0)
    return responses


def _sequential(function: Function, events: list[dict[str, Any]]) -> list[Response]:
    return [function.answer(event) for event in events]
