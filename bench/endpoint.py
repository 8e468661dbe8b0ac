"""How many jobs a worker takes: an endpoint of several workers, simulated.

A queue of jobs, workers with one device each. A worker asks for a job whenever it is to have one
more, and the request stays open until there is one, as RunPod's does; who of several that ask gets
the next job is chance. Jobs are the same for every way of taking them: seconds of fetching, of
running and of storing are drawn beforehand, spread as log-normal distributions are.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
import statistics
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bench.rows import Row, Spread
from handler.job.pace import Held, Intake, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.scale import Scale

RUN = 5.0
STORE = 0.5
WORKERS = 4
# Of the run: how often a worker that waits looks whether it is to take another job.
_LOOK = 0.01
SPREAD = 0.3
# Of the run.
FETCHES = (0.1, 0.3, 1.0, 2.0, 4.0)
# Of what the same workers can do with one job at a time.
LOADS = (0.3, 0.6, 0.9)
# WORKER_CONCURRENCY
MOST = 8
_SEEDS = (1, 2, 3)


def measure(scale: Scale) -> list[Row]:
    """Compare the ways of taking jobs; see the module's docstring."""
    count, rows = scale.simulated_jobs, []
    for fetch in FETCHES:
        what = f"fetch {fetch:g} of the run"
        waiting = [draw_jobs(count, fetch, None, SPREAD, seed) for seed in _SEEDS]
        ours, one, four = (_outcomes(waiting, way) for way in _WAYS)
        rows += [
            _row(f"device busy share, {what}", "", _busy(ours), _busy(four), "fixed 4", "≥ 0.95"),
            _row(f"device busy share, {what}", "", _busy(ours), _busy(one), "fixed 1", ""),
        ]
        for load in LOADS:
            rate = load * WORKERS / (fetch * RUN + RUN + STORE)
            arriving = [draw_jobs(count, fetch, rate, SPREAD, seed) for seed in _SEEDS]
            ours, one, four = (_outcomes(arriving, way) for way in _WAYS)
            for name, others in (("fixed 1", one), ("fixed 4", four)):
                goal = "ratio ≤ 1" if name == "fixed 1" else ""
                what = f"load {load:g}, fetch {fetch:g} of the run"
                rows += [
                    _row(f"mean, {what}", "s", _mean(ours), _mean(others), name, goal),
                    _row(f"p95, {what}", "s", _p95(ours), _p95(others), name, goal),
                ]
    return rows


@dataclass(frozen=True)
class SimulatedJob:
    """One job; seconds."""

    arrives: float
    fetch: float
    run: float
    store: float


class Taking(Protocol):
    """A way of taking jobs, of one worker."""

    def wants(self, held: Sequence[Held]) -> bool:
        """Say whether the worker is to have another job."""

    def answered(self, seconds: float) -> None:
        """Take note of how long a request for a job was open."""

    def ran(self, job: SimulatedJob) -> None:
        """Take note of a job that was on the device."""


@dataclass
class Fixed:
    """As many jobs at once as a number says."""

    number: int

    def wants(self, held: Sequence[Held]) -> bool:
        """Say whether there is room."""
        return len(held) < self.number

    def answered(self, seconds: float) -> None:
        """Nothing is measured."""

    def ran(self, job: SimulatedJob) -> None:
        """Nothing is measured."""


class Paced:
    """As this project's worker takes them."""

    def __init__(self, most: int = MOST) -> None:
        self._intake = Intake(most)

    def wants(self, held: Sequence[Held]) -> bool:
        """Say whether the next job is due."""
        return self._intake.wants(held)

    def answered(self, seconds: float) -> None:
        """See whether the job had been waiting."""
        self._intake.answered(seconds)

    def ran(self, job: SimulatedJob) -> None:
        """Measure."""
        self._intake.ran(job.fetch, job.run)


@dataclass(frozen=True)
class Outcome:
    """What a simulation came to.

    Attributes:
        busy: Share of the time in which the devices worked, between the first tenth of the results
            and the moment at which no job waits any more.
        seconds: From each job's arrival to its result.
        held: Jobs in a worker, in the mean.
    """

    busy: float
    seconds: Sequence[float]
    held: float

    @property
    def mean(self) -> float:
        """Mean time to a result."""
        return statistics.fmean(self.seconds)

    @property
    def p95(self) -> float:
        """The time within which 95 of 100 results were there."""
        return sorted(self.seconds)[int(len(self.seconds) * 0.95)]


@dataclass
class _Inside:
    """A job in a worker."""

    job: SimulatedJob
    stage: Stage
    since: float
    taken: float
    ready: bool = False


class _Worker:
    def __init__(self, taking: Taking) -> None:
        self.taking = taking
        self.inside: list[_Inside] = []
        self.asks_since: float | None = None
        self.device: _Inside | None = None

    def look(self, now: float) -> None:
        """Ask for a job, if one is due; a request that is open stays open."""
        if self.asks_since is None and self.taking.wants(self.held(now)):
            self.asks_since = now

    def held(self, now: float) -> list[Held]:
        return [Held(one.stage, now - one.since) for one in self.inside]


def simulate(
    jobs: Sequence[SimulatedJob], taking: Callable[[], Taking], workers: int, seed: int = 0
) -> Outcome:
    """Let workers do some jobs, sorted by arrival."""
    return _Endpoint(jobs, [_Worker(taking()) for _ in range(workers)], seed).run()


class _Endpoint:
    def __init__(self, jobs: Sequence[SimulatedJob], workers: list[_Worker], seed: int) -> None:
        self._workers = workers
        self._chance = random.Random(seed)  # noqa: S311 - the same each time
        self._numbers = itertools.count()
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._queue: deque[SimulatedJob] = deque()
        self._seconds: list[float] = []
        self._runs: list[tuple[float, float]] = []
        self._inside = 0.0
        self._steady_from = 0.0
        self._last_taken = 0.0
        self._jobs = len(jobs)
        for job in jobs:
            self._at(job.arrives, lambda now, job=job: self._arrive(now, job))  # type: ignore[misc]
        self._at(0.0, self._look)

    def run(self) -> Outcome:
        now = 0.0
        while len(self._seconds) < self._jobs:
            now, _, act = heapq.heappop(self._events)
            act(now)
            self._hand_out(now)
        begin, end = self._steady_from, self._last_taken
        busy = sum(max(0.0, min(last, end) - max(first, begin)) for first, last in self._runs)
        workers = len(self._workers)
        return Outcome(
            busy / ((end - begin) * workers), self._seconds, self._inside / now / workers
        )

    def _at(self, when: float, act: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), act))

    def _look(self, now: float) -> None:
        self._at(now + _LOOK * RUN, self._look)

    def _arrive(self, now: float, job: SimulatedJob) -> None:
        del now
        self._queue.append(job)

    def _hand_out(self, now: float) -> None:
        for worker in self._workers:
            worker.look(now)
        while self._queue and (
            asking := [worker for worker in self._workers if worker.asks_since is not None]
        ):
            worker = self._chance.choice(asking)
            worker.taking.answered(now - (worker.asks_since or 0.0))
            self._take(now, worker, self._queue.popleft())
            worker.asks_since = None
            worker.look(now)

    def _take(self, now: float, worker: _Worker, job: SimulatedJob) -> None:
        self._last_taken = now
        inside = _Inside(job, "fetch", now, now)
        worker.inside.append(inside)

        def fetched(now: float) -> None:
            inside.ready = True
            self._use_device(now, worker)

        self._at(now + job.fetch, fetched)

    def _use_device(self, now: float, worker: _Worker) -> None:
        if worker.device is not None:
            return
        ready = next((one for one in worker.inside if one.ready and one.stage == "fetch"), None)
        if ready is None:
            return
        worker.device = ready
        ready.stage, ready.since = "device", now

        def ran(now: float) -> None:
            self._runs.append((now - ready.job.run, now))
            worker.taking.ran(ready.job)
            worker.device = None
            ready.stage, ready.since = "store", now
            self._at(now + ready.job.store, stored)
            self._use_device(now, worker)

        def stored(now: float) -> None:
            worker.inside.remove(ready)
            self._seconds.append(now - ready.job.arrives)
            self._inside += now - ready.taken
            if len(self._seconds) == self._jobs // 10:
                self._steady_from = now

        self._at(now + ready.job.run, ran)


def draw_jobs(
    count: int, fetch: float, arrivals_per_second: float | None, spread: float, seed: int
) -> list[SimulatedJob]:
    """Return jobs whose seconds scatter around the given means.

    Args:
        fetch: Mean, in runs.
        arrivals_per_second: Of a Poisson process; ``None`` for jobs that all wait from the start.
        spread: Standard deviation of each duration, as a share of its mean.
    """
    chance = random.Random(seed)  # noqa: S311 - the same each time
    sigma = math.sqrt(math.log(1 + spread**2))

    def around(mean: float) -> float:
        return mean * chance.lognormvariate(-(sigma**2) / 2, sigma)

    jobs, now = [], 0.0
    for _ in range(count):
        if arrivals_per_second is not None:
            now += chance.expovariate(arrivals_per_second)
        jobs.append(SimulatedJob(now, around(fetch * RUN), around(RUN), around(STORE)))
    return jobs


_WAYS: tuple[Callable[[], Taking], ...] = (Paced, lambda: Fixed(1), lambda: Fixed(4))


def _outcomes(samples: list[list[SimulatedJob]], way: Callable[[], Taking]) -> list[Outcome]:
    return [simulate(jobs, way, WORKERS) for jobs in samples]


def _busy(outcomes: list[Outcome]) -> list[float]:
    return [outcome.busy for outcome in outcomes]


def _mean(outcomes: list[Outcome]) -> list[float]:
    return [outcome.mean for outcome in outcomes]


def _p95(outcomes: list[Outcome]) -> list[float]:
    return [outcome.p95 for outcome in outcomes]


def _row(  # noqa: PLR0913, PLR0917 - a row's own fields
    what: str, unit: str, ours: list[float], others: list[float], name: str, goal: str
) -> Row:
    return Row(
        group="jobs per worker, simulated",
        what=what,
        unit=unit,
        ours=Spread.of(ours),
        other=Spread.of(others),
        compared_with=name,
        goal=goal,
    )
