"""What is told of a job after its process is gone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
from places import PROJECT

from handler.contract.errors import StorageError
from handler.contract.job_id import JobId
from handler.contract.response import failure
from handler.job.records import JobRecords

# Takes jobs as its input says, and is killed.
KILLED = """
import json, os, signal, sys
from pathlib import Path
from handler.contract.job_id import JobId
from handler.contract.progress import JobProgress
from handler.job.records import JobRecords

records = JobRecords(Path(sys.argv[1]))
records.inherit()
for step in json.loads(sys.argv[2]):
    match step:
        case ["taken", job, event]:
            records.taken(JobId.of(job), event)
        case ["on device", job, node]:
            records.progressed(JobId.of(job), JobProgress(phase="run", node=node))
        case ["off device", job]:
            records.progressed(JobId.of(job), JobProgress(phase="store"))
os.kill(os.getpid(), signal.SIGKILL)
"""
EVENT = {"input": {"workflow": "invert"}}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "records"


@pytest.fixture
def killed(folder):
    def kill(*steps) -> None:
        ended = subprocess.run(
            [sys.executable, "-c", KILLED, folder, json.dumps(steps)], cwd=PROJECT, check=False
        )
        assert ended.returncode == -signal.SIGKILL

    return kill


@pytest.mark.fault(
    "A process dies with a job on the device",
    "the job is told as lost, with its node",
)
def test_job_on_the_device_is_told_as_lost_with_its_node(folder, killed):
    killed(["taken", "a", EVENT], ["on device", "a", "Sampler"])
    [ended] = JobRecords(folder).inherit().ended
    assert ended.job_id == "a"
    assert ended.response.error.code == "worker_lost"
    assert ended.response.error.retryable is True
    assert ended.response.error.details == {"node": "Sampler"}
    assert ended.response.http_status == 503
    assert "Sampler" in ended.response.error.message


@pytest.mark.fault(
    "A process dies with jobs waiting beside the one on the device",
    "the next process does them",
)
def test_jobs_beside_it_are_done_by_the_next_process(folder, killed):
    killed(
        ["taken", "a", EVENT],
        ["taken", "b/ü", EVENT],
        ["on device", "b/ü", "Sampler"],
        ["off device", "b/ü"],
        ["on device", "a", "Sampler"],
    )
    inheritance = JobRecords(folder).inherit()
    [waiting] = inheritance.waiting
    assert (waiting.job_id, waiting.job_id.given) == (JobId.of("b/ü"), "b/ü")
    assert waiting.event == EVENT
    assert [ended.job_id for ended in inheritance.ended] == ["a"]


def test_job_that_nobody_could_ask_for_is_not_done_again(folder, killed):
    killed(["taken", "a", None])
    inheritance = JobRecords(folder).inherit()
    assert inheritance.waiting == []
    assert [ended.response.error.code for ended in inheritance.ended] == ["worker_lost"]


def test_job_that_outlived_several_processes_is_given_up(folder, killed):
    killed(["taken", "a", EVENT])
    for _ in range(2):
        killed()
    inheritance = JobRecords(folder).inherit()
    assert inheritance.waiting == []
    assert [ended.response.error.code for ended in inheritance.ended] == ["worker_lost"]


def test_what_was_told_once_is_told_by_every_later_process(folder, killed):
    killed(["taken", "a", EVENT], ["on device", "a", "Sampler"])
    first = JobRecords(folder)
    told = first.inherit().ended
    first.close()
    assert JobRecords(folder).inherit().ended == told


def test_records_of_a_process_that_lives_are_its_own(folder):
    living = JobRecords(folder)
    living.taken(JobId("a"), EVENT)
    inheritance = JobRecords(folder).inherit()
    assert (inheritance.waiting, inheritance.ended) == ([], [])


def test_response_comes_back_as_it_was_and_can_be_forgotten(folder):
    records = JobRecords(folder)
    kept, forgotten = JobId.of("kept id"), JobId.of("forgotten")
    response = failure(kept, StorageError("The bucket is full.", bucket="b"))
    records.ended(kept, response)
    records.ended(forgotten, failure(forgotten, StorageError("x")))
    records.forget(forgotten)
    records.close()
    [ended] = JobRecords(folder).inherit().ended
    assert ended.response == response


def test_damaged_record_costs_only_itself(folder, killed):
    killed(["taken", "a", EVENT], ["taken", "b", EVENT])
    [damaged] = folder.glob("*/a.json")
    damaged.write_text("{")
    assert [waiting.job_id for waiting in JobRecords(folder).inherit().waiting] == ["b"]


def test_record_that_cannot_be_written_costs_the_job_nothing(folder, caplog):
    records = JobRecords(folder)
    [own] = folder.iterdir()
    (own / "a.json").mkdir()
    records.taken(JobId("a"), EVENT)
    assert "record of a job cannot be written" in caplog.text


def test_folder_that_cannot_be_used_is_told_with_its_setting(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="JOB_RECORDS_DIR"):
        JobRecords(tmp_path / "file" / "records")


def test_of_two_processes_that_start_at_once_one_takes_over(folder, killed):
    killed(["taken", "a", EVENT])
    first, second = JobRecords(folder), JobRecords(folder)
    both = [records.inherit().waiting for records in (first, second)]
    assert sorted(map(len, both)) == [0, 1]
