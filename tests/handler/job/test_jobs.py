"""What the records say of jobs that are refused, joined, or taken over."""

from __future__ import annotations

import shutil

import pytest

from handler.contract.errors import OverloadedError
from handler.job.jobs import Jobs
from handler.job.pool import JobPool
from handler.job.records import Inheritance, JobRecords


def event(job_id: str) -> dict[str, object]:
    return {"id": job_id, "input": {"workflow": "invert", "image": "s3://bucket/photo.png"}}


@pytest.fixture
def records(tmp_path):
    opened = JobRecords(tmp_path / "records")
    yield opened
    opened.close()


@pytest.fixture
def jobs(local_settings, records):
    return Jobs(local_settings, lambda *_: None, records)


@pytest.fixture
def pool(fake_function, monkeypatch, photo):
    """One job at a time, held until the end, and one that waits."""
    monkeypatch.setattr(fake_function._fetcher, "fetch", lambda *_: photo)
    fake_function.runtime.gate.clear()
    made = JobPool(fake_function, concurrency=1, queue_limit=1)
    yield made
    fake_function.runtime.gate.set()
    made.close(grace=10)


@pytest.fixture
def submit(jobs, pool):
    def send(job_id: str, *, detached: bool):
        sent = event(job_id)
        return jobs.submit(pool, pool.function.read(sent), detached=detached, event=sent)

    return send


def left_behind(tmp_path) -> Inheritance:
    """What the next process would find if this one were killed now: nobody has the copy's lock."""
    shutil.copytree(tmp_path / "records", tmp_path / "copy")
    return JobRecords(tmp_path / "copy").inherit()


def told(inheritance: Inheritance) -> dict[str, object]:
    waiting = {str(job.job_id): job.event for job in inheritance.waiting}
    return waiting | {str(job.job_id): job.response.error.code for job in inheritance.ended}


def test_refused_job_leaves_no_record(submit, pool, fake, tmp_path):
    submit("on-device", detached=True)
    fake.wait_for_runs(1)
    submit("waiting", detached=True)
    with pytest.raises(OverloadedError):
        submit("refused", detached=True)
    assert set(told(left_behind(tmp_path))) == {"on-device", "waiting"}


@pytest.mark.parametrize("first", [True, False])
def test_job_is_done_again_if_one_of_those_who_sent_it_may_ask_for_it(
    submit, fake, tmp_path, first
):
    submit("on-device", detached=True)
    fake.wait_for_runs(1)
    job = submit("waiting", detached=first)
    assert submit("waiting", detached=not first) is job
    assert told(left_behind(tmp_path))["waiting"] == event("waiting")


def test_jobs_taken_over_count_on_from_where_they_were(jobs, pool, records, tmp_path):
    sent = event("again")
    request = pool.function.read(sent)
    jobs.submit(pool, request, detached=True, event=sent, tries=2)
    [waiting] = left_behind(tmp_path).waiting
    assert waiting.tries == 3
