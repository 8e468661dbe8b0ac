"""One small job: its total time, and the overhead beyond the execution of its nodes."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.own_function import own_function
from bench.peer import run_peer_job
from bench.photos import as_base64, jpeg, photo
from bench.recording_runtime import RecordingRuntime
from bench.rows import Row, Spread
from bench.stock_server import stock_server
from handler.contract.response import Success

if TYPE_CHECKING:
    from bench.scale import Scale
    from handler.job.invoke import Function

_SIDE = 512
_IN_A_ROW = 10


class BenchmarkJobError(Exception):
    """A job of the benchmark failed."""


@dataclass(frozen=True)
class OwnJob:
    """Times of a finished job, in seconds.

    Attributes:
        total: From the event to the response.
        nodes: Execution of the graph's nodes.
        codecs: Reading and decoding the photo, and encoding the result, which ComfyUI's own nodes
            do while they are executed; here other jobs are on the device meanwhile.
        delivery: Handing the result over; other jobs are on the device meanwhile.
    """

    total: float
    nodes: float
    codecs: float
    delivery: float

    @property
    def added(self) -> float:
        """The rest of the total."""
        return self.total - self.nodes - self.codecs - self.delivery


def measure(scale: Scale) -> list[Row]:
    """Alternate ten jobs of each kind, each on a different picture."""
    images = [jpeg(photo(_SIDE, number)) for number in range(scale.jobs + 1)]
    ours, peer = [], []
    with (
        own_function() as function,
        tempfile.TemporaryDirectory() as folder,
        stock_server(function.settings.comfyui_dir, Path(folder)) as server,
    ):
        own_jobs = OwnJobs(function)
        for start in range(0, len(images), _IN_A_ROW):
            row = images[start : start + _IN_A_ROW]
            ours += [own_jobs.run(image) for image in row]
            peer += [run_peer_job(server.url, image) for image in row]
    ours, peer = ours[1:], peer[1:]  # the first of each kind also imports what it needs
    return [
        _row("in all", [job.total for job in ours], [job.total_seconds for job in peer]),
        _row(
            "codecs and nodes",
            [job.codecs + job.nodes for job in ours],
            [job.run_seconds for job in peer],
        ),
        _row(
            "added to them",
            [job.added for job in ours],
            [job.total_seconds - job.run_seconds for job in peer],
            "ours ≤ 2 ms",
        ),
    ]


class OwnJobs:
    """Jobs of this project's function, with image and result in base64."""

    def __init__(self, function: Function) -> None:
        self._function = function
        self._runtime = function.runtime = RecordingRuntime(function.runtime)

    def run(self, image: bytes) -> OwnJob:
        """Run an event and say where the time went.

        Raises:
            BenchmarkJobError: The job failed.
        """
        output = {"delivery": "base64"}
        job_input = {"workflow": "invert", "image": as_base64(image), "output": output}
        started = time.perf_counter()
        response = self._function.answer({"id": "bench", "input": job_input})
        total = time.perf_counter() - started
        if not isinstance(response, Success) or self._runtime.last is None:
            raise BenchmarkJobError(str(response))
        timings = response.timings
        return OwnJob(
            total=total,
            nodes=sum(self._runtime.last.node_seconds.values()),
            codecs=timings.fetch + timings.encode,
            delivery=timings.store,
        )


def _row(what: str, ours: list[float], peer: list[float], goal: str = "") -> Row:
    return Row(
        group=f"one job, {_SIDE} px",
        what=what,
        unit="ms",
        ours=Spread.of([seconds * 1000 for seconds in ours]),
        other=Spread.of([seconds * 1000 for seconds in peer]),
        compared_with="stock server",
        goal=goal,
    )
