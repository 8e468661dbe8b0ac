from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.job.pace import AT_ONCE, Held, Intake, Pace, device_free_in, takes_another

seconds = st.floats(0, 1000)
paces = st.builds(
    Pace.of,
    st.lists(seconds, min_size=20, max_size=20),
    st.lists(st.floats(0.01, 1000), min_size=20, max_size=20),
)
held_jobs = st.lists(
    st.builds(Held, st.sampled_from(["fetch", "device", "store"]), seconds), max_size=6
).filter(lambda held: sum(job.stage == "device" for job in held) <= 1)
waits = st.integers(0, 10)
EVEN = Pace.of([2.0] * 20, [5.0] * 20)


@given(held=held_jobs, pace=st.none() | paces, waited=waits, most=st.integers(1, 8))
def test_never_more_than_the_bound(held, pace, waited, most):
    if len(held) >= most:
        assert not takes_another(held, pace, most, waited)


@given(
    stored=st.lists(st.builds(Held, st.just("store"), seconds), max_size=6),
    pace=st.none() | paces,
    waited=waits,
)
def test_worker_whose_device_has_nothing_to_do_takes_a_job(stored, pace, waited):
    assert takes_another(stored, pace, 8, waited)


@given(held=held_jobs)
def test_before_anything_is_measured_one_job_at_a_time_is_not_yet_stored(held):
    on_its_way = any(job.stage != "store" for job in held)
    assert takes_another(held, None, 8) is not on_its_way


@given(held=held_jobs, pace=paces, waited=waits)
def test_more_jobs_that_wait_never_make_it_take_later(held, pace, waited):
    if takes_another(held, pace, 8, waited):
        assert takes_another(held, pace, 8, waited + 1)


@given(held=held_jobs, pace=paces, waited=waits, passed=seconds)
def test_what_it_would_take_now_it_would_take_later(held, pace, waited, passed):
    later = [Held(job.stage, job.seconds + passed) for job in held]
    if takes_another(held, pace, 8, waited):
        assert takes_another(later, pace, 8, waited)


@given(held=held_jobs, more=st.builds(Held, st.just("fetch"), seconds), pace=paces, waited=waits)
def test_one_job_more_never_makes_it_take_earlier(held, more, pace, waited):
    if takes_another([*held, more], pace, 8, waited):
        assert takes_another(held, pace, 8, waited)


@pytest.mark.parametrize("waited", [0, 1, 3])
@pytest.mark.parametrize(("ran", "taken"), [(2.9, False), (3.1, True), (9.0, True)])
def test_next_fetch_ends_when_the_device_is_free(waited, ran, taken):
    assert takes_another([Held("device", ran)], EVEN, 8, waited) is taken


def test_device_is_not_free_before_what_is_fetched_has_run():
    held = [Held("device", 4.0), Held("fetch", 0.5), Held("store", 9.0)]
    assert device_free_in(held, fetch=2.0, run=5.0) == 1.5 + 5.0
    assert device_free_in([], fetch=2.0, run=5.0) == 0.0
    assert device_free_in([Held("fetch", 7.0)], fetch=2.0, run=5.0) == 5.0


def test_spare_jobs_are_taken_only_while_more_and_more_wait():
    held = [Held("device", 0.0), Held("fetch", 0.0)]
    assert not takes_another(held, EVEN, 8, waited=3)
    assert takes_another(held, EVEN, 8, waited=4)
    assert not takes_another([*held, Held("fetch", 0.0), Held("fetch", 0.0)], EVEN, 8, waited=99)


def test_intake_measures_the_last_jobs_and_how_long_it_waited_for_one():
    intake = Intake(most=8)
    device = [Held("device", 4.0)]
    assert not intake.wants(device)
    for _ in range(30):
        intake.ran(fetch=2.0, run=5.0)
    assert intake.wants(device)
    for _ in range(30):
        intake.ran(fetch=0.5, run=5.0)
    assert not intake.wants(device)
    early = [Held("device", 4.9)]
    for _ in range(4):
        assert intake.wants(early)
        intake.answered(AT_ONCE)
    assert intake.wants([Held("device", 0.0)])
    intake.answered(10.0)
    assert not intake.wants([Held("device", 0.0)])


def test_jobs_that_come_one_after_the_other_are_no_queue():
    intake = Intake(most=8)
    for _ in range(30):
        assert intake.wants([])
        intake.answered(0.1)
        intake.ran(fetch=0.5, run=5.0)
    assert not intake.wants([Held("device", 4.0)])
