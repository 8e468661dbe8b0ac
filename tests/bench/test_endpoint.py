"""The simulation, and what it shows of the way in which a worker takes jobs."""

from __future__ import annotations

import pytest

from bench.endpoint import (
    LOADS,
    RUN,
    SPREAD,
    STORE,
    WORKERS,
    Fixed,
    Paced,
    SimulatedJob,
    draw_jobs,
    simulate,
)

pytestmark = pytest.mark.slow


def test_one_job_at_a_time_takes_what_its_steps_take():
    jobs = [SimulatedJob(0.0, 1.0, 5.0, 0.5) for _ in range(40)]
    outcome = simulate(jobs, lambda: Fixed(1), 1)
    assert max(outcome.seconds) == pytest.approx(40 * 6.5)
    assert outcome.busy == pytest.approx(5.0 / 6.5, abs=0.02)
    assert outcome.held == pytest.approx(1.0)


@pytest.mark.parametrize("fetch", [0.1, 1.0, 4.0])
def test_devices_are_as_busy_as_with_four_jobs_each_and_never_idle_for_long(fetch):
    jobs = draw_jobs(500, fetch, None, SPREAD, seed=1)
    ours, four = simulate(jobs, Paced, WORKERS), simulate(jobs, lambda: Fixed(4), WORKERS)
    assert ours.busy >= 0.95
    assert ours.busy >= four.busy - 0.01


@pytest.mark.parametrize("fetch", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("load", LOADS)
def test_results_are_there_no_later_than_with_one_job_each(fetch, load):
    jobs = draw_jobs(500, fetch, load * WORKERS / (fetch * RUN + RUN + STORE), SPREAD, seed=1)
    ours, one = simulate(jobs, Paced, WORKERS), simulate(jobs, lambda: Fixed(1), WORKERS)
    assert ours.mean <= one.mean
    assert ours.p95 <= one.p95


@pytest.mark.parametrize("fetch", [0.1, 1.0, 4.0])
def test_as_many_jobs_are_in_a_worker_as_littles_law_says(fetch):
    """1 + (fetch + store) / run where nothing scatters, and the spare jobs of a long queue."""
    jobs = draw_jobs(500, fetch, None, 0.0, seed=1)
    outcome = simulate(jobs, lambda: Paced(20), WORKERS)
    law = 1 + (fetch * RUN + STORE) / RUN
    assert law - 0.3 <= outcome.held <= law + 2.3
