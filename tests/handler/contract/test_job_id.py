from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.contract.job_id import JobId, job_id_of

FITTING = ["order-1234", "1-68a0-fc", "a.b_c", "-x", "x" * 200]
AWKWARD = [
    "a/b",
    "a b",
    "größe-图",
    "..",
    ".hidden",
    "50%2F50",
    "a\\b;c",
    "x" * 201,
    "a\n",
    "\ud800",
]


@pytest.mark.parametrize("text", FITTING)
def test_id_that_fits_stands_for_itself(text):
    assert JobId.of(text) == text
    assert JobId.of(text).given == text


@given(st.text(min_size=1))
def test_every_id_is_of_one_character_set_and_stands_for_itself_from_then_on(text):
    job_id = JobId.of(text)
    assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}", job_id)
    assert JobId.of(job_id) == job_id
    assert job_id.given == text[:200]


def test_two_ids_never_become_one():
    assert len({JobId.of(text) for text in FITTING + AWKWARD}) == len(FITTING + AWKWARD)


def test_id_that_does_not_fit_can_still_be_recognized():
    assert JobId.of("photo 1.png").startswith("photo_1_png.")


@pytest.mark.parametrize("text", ["", "a/b", "x" * 201])
def test_text_that_is_no_job_id_is_not_taken_for_one(text):
    with pytest.raises(ValueError, match="not a job id"):
        JobId(text)


@pytest.mark.parametrize("event", [{"id": "job-1"}, {"id": "job-1", "input": 5}])
def test_job_has_the_id_that_its_event_gives_valid_or_not(event):
    assert job_id_of(event, "the-platforms") == "job-1"


@pytest.mark.parametrize("event", [{}, {"id": ""}, {"id": 5}, {"id": None}, None, [], "job-1"])
def test_job_without_an_id_has_the_platforms_or_one_of_its_own(event):
    assert job_id_of(event, "the/platforms").given == "the/platforms"
    ids = {job_id_of(event) for _ in range(100)}
    assert len(ids) == 100
    assert all(len(job_id) == 32 and job_id.given is None for job_id in ids)
