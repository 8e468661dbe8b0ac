"""When a worker takes another job from a queue that other workers take from too.

One job is on the device. The next one is taken only so early that its inputs are there when the
device is free: earlier, it would wait here while another worker has nothing to do; later, the
device would wait. On a device that is never free that makes, by Little's law, as many jobs in the
worker as a job's way through it takes longer than its run: 1 + (fetch + store) / run.
"""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

MEASURED = 20
"""Jobs that a pace is taken from: the last ones."""

AT_ONCE = 0.3
"""Seconds within which a request for a job is answered if one was waiting."""

# So many jobs in a row that had been waiting mean that more are, and two jobs more are taken than
# the device needs: a slow fetch then costs no time on it.
_BACKLOG = 4
_SPARE_JOBS = 2
# Of the last jobs, the share that was faster than what counts as fast, or slower than slow.
_TAIL = 0.1

Stage = Literal["fetch", "device", "store"]


@dataclass(frozen=True)
class Held:
    """A job that the worker has.

    Attributes:
        stage: Where it is; "fetch" also while it waits for the device.
        seconds: For how long it has been there.
    """

    stage: Stage
    seconds: float


@dataclass(frozen=True)
class Pace:
    """What the last jobs needed, in seconds.

    Attributes:
        fetch: Until a job's inputs were there, in the median.
        fast_fetch: The same, of a fetch that is faster than nine in ten.
        slow_fetch: The same, of a fetch that is slower than nine in ten.
        run: On the device, in the mean.
        slow_run: The same, of the slowest run.
    """

    fetch: float
    fast_fetch: float
    slow_fetch: float
    run: float
    slow_run: float

    @classmethod
    def of(cls, fetches: Sequence[float], runs: Sequence[float]) -> Pace:
        """Return the pace of some jobs, of which there is one at least."""
        by_fetch, by_run = sorted(fetches), sorted(runs)
        tail = int(len(by_fetch) * _TAIL)
        return cls(
            fetch=statistics.median(by_fetch),
            fast_fetch=by_fetch[tail],
            slow_fetch=by_fetch[-1 - tail],
            run=statistics.fmean(by_run),
            slow_run=by_run[-1],
        )


class Intake:
    """Says when a worker is to ask for another job. Not safe from several threads.

    Args:
        most: Jobs that the worker may have at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._fetches: deque[float] = deque(maxlen=MEASURED)
        self._runs: deque[float] = deque(maxlen=MEASURED)
        self._waited = 0
        self._busy = False

    def wants(self, held: Sequence[Held]) -> bool:
        """Say whether to ask now; see :func:`takes_another`."""
        pace = Pace.of(self._fetches, self._runs) if self._runs else None
        wants = takes_another(held, pace, self._most, self._waited)
        if wants:
            self._busy = any(job.stage != "store" for job in held)
        return wants

    def answered(self, seconds: float) -> None:
        """Take note of how long the platform took to hand out a job."""
        if seconds > AT_ONCE:
            self._waited = 0
        elif self._busy:
            self._waited += 1
        else:
            # A caller who sends one job after the other makes it look so, too.
            self._waited = max(self._waited, 1)

    def ran(self, fetch: float, run: float) -> None:
        """Take note of a job's seconds until its inputs were there, and on the device."""
        self._fetches.append(fetch)
        self._runs.append(run)


def takes_another(held: Sequence[Held], pace: Pace | None, most: int, waited: int = 0) -> bool:
    """Say whether a worker is to take one more job now.

    Args:
        held: What it has, in the order in which it was taken.
        pace: ``None`` where nothing was measured: then only the device's next job is taken.
        most: Jobs that it may have at once.
        waited: How many jobs in a row had been waiting when this worker, busy itself, asked, up to
            the last one. If none had, another worker may have nothing to do, and a job is taken
            only if even the slowest run will be over when its inputs are there, however fast. If
            one had, no worker was free, and slow fetches are allowed for.
    """
    if len(held) >= most:
        return False
    if pace is None:
        return all(job.stage == "store" for job in held)
    if not waited:
        return device_free_in(held, pace.fetch, pace.slow_run) <= pace.fast_fetch
    spare = _SPARE_JOBS * pace.run if waited >= _BACKLOG else 0.0
    return device_free_in(held, pace.fetch, pace.run) <= pace.slow_fetch + spare


def device_free_in(held: Sequence[Held], fetch: float, run: float) -> float:
    """Return the seconds until the device has done what the worker has.

    Args:
        held: In the order in which it was taken.
        fetch: Seconds that each job's inputs take.
        run: Seconds that each job is on the device.
    """
    free = sum(max(0.0, run - job.seconds) for job in held if job.stage == "device")
    for job in held:
        if job.stage == "fetch":
            free = max(free, fetch - job.seconds) + run
    return free
