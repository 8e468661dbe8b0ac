from __future__ import annotations

import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_runtime.errors import ServiceError
from handler.batch.jobs import BatchJob, Record
from handler.batch.ledger import LedgerFile, LedgerObjects
from handler.contract.errors import NotAnImageError, StorageError
from handler.contract.job_id import JobId
from handler.contract.response import Success, Timings, failure
from handler.shelf import BucketShelf


def job(number: int, fingerprint: str = "0" * 64) -> BatchJob:
    return BatchJob(number, f"job-{number}", f"line {number} größer", fingerprint)


def success(number: int, **changes: object) -> Record:
    timings = dict.fromkeys(("fetch", "validate", "queue", "run", "encode", "store", "total"), 0.1)
    response = Success(
        job_id=f"job-{number}",
        workflow="invert",
        workflow_version="1",
        seed=None,
        outputs=[],
        timings=Timings.model_validate(timings),
        reused=False,
        cold_start=False,
    )
    return Record(job(number, **changes), 1, response)


def failed(number: int, error: ServiceError | None = None) -> Record:
    response = failure(JobId.of(f"job-{number}"), error or NotAnImageError("It is text."))
    return Record(job(number), 2, response)


@pytest.fixture(params=["file", "bucket"])
def open_ledger(request, tmp_path):
    """Open the same ledger anew, as another run or another worker does."""
    if request.param == "file":
        return lambda: LedgerFile(tmp_path / "results" / "manifest.jsonl")
    client, bucket = request.getfixturevalue("s3"), request.getfixturevalue("bucket")
    return lambda: LedgerObjects(BucketShelf(client, bucket, prefix="batch"))


def test_what_one_run_records_the_next_one_reads(open_ledger):
    first = open_ledger()
    first.refresh()
    first.append(success(1))
    first.append(failed(2))
    second = open_ledger()
    second.refresh()
    assert second.outcome(job(1)).status == "succeeded"
    assert second.outcome(job(2)).error.code == "not_an_image"
    assert second.outcome(job(2)).error.message == "It is text."
    assert second.outcome(job(3)) is None


def test_record_of_another_worker_is_found_when_looked_up(open_ledger):
    one, other = open_ledger(), open_ledger()
    one.append(success(1))
    assert other.outcome(job(1)) is None
    assert other.look_up(job(1)).status == "succeeded"
    assert other.look_up(job(2)) is None


def test_record_of_another_request_under_the_id_does_not_count(open_ledger):
    ledger = open_ledger()
    ledger.append(success(1))
    assert open_ledger().look_up(job(1, "1" * 64)) is None


def test_success_after_a_failure_counts(open_ledger):
    ledger = open_ledger()
    ledger.append(failed(1))
    ledger.append(success(1))
    assert ledger.outcome(job(1)).status == "succeeded"
    assert open_ledger().look_up(job(1)).status == "succeeded"


def test_line_tells_all_about_the_job(tmp_path):
    ledger = LedgerFile(tmp_path / "manifest.jsonl")
    ledger.append(success(1))
    ledger.append(failed(2))
    first, second = map(json.loads, (tmp_path / "manifest.jsonl").read_text("utf-8").splitlines())
    assert first["source"] == "line 1 größer"
    assert first["response"] == success(1).response.to_json()
    assert second["attempts"] == 2
    assert second["error"]["code"] == "not_an_image"
    assert "response" not in second


def test_line_of_a_text_that_is_no_unicode_is_json_in_utf8(tmp_path):
    ledger = LedgerFile(tmp_path / "manifest.jsonl")
    record = Record(BatchJob(0, "\ud800", "a\ud800", "0" * 64), 1, failed(1).response)
    ledger.append(record)
    line = (tmp_path / "manifest.jsonl").read_text("utf-8")
    assert json.loads(line)["source"] == "a\ud800"


@given(cut=st.integers(0), count=st.integers(1, 4))
def test_wherever_the_file_is_cut_off_whole_lines_count_and_more_can_be_added(
    tmp_path_factory, cut, count
):
    path = tmp_path_factory.mktemp("ledger") / "manifest.jsonl"
    writer = LedgerFile(path)
    for number in range(count):
        writer.append(success(number))
    data = path.read_bytes()
    kept = data[: cut % (len(data) + 1)]
    path.write_bytes(kept)
    whole = len([line for line in kept.split(b"\n") if line.endswith(b"}}")])
    reopened = LedgerFile(path)
    reopened.refresh()
    assert sum(reopened.outcome(job(number)) is not None for number in range(count)) == whole
    reopened.append(success(count))
    last = LedgerFile(path)
    last.refresh()
    assert sum(last.outcome(job(number)) is not None for number in range(count + 1)) == whole + 1


def test_lines_of_many_writers_do_not_mix(tmp_path):
    path = tmp_path / "manifest.jsonl"

    def write(first: int) -> None:
        ledger = LedgerFile(path)
        for number in range(first, first + 25):
            ledger.append(success(number))

    threads = [threading.Thread(target=write, args=(100 * worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    written = [json.loads(line)["id"] for line in path.read_text("utf-8").splitlines()]
    assert len(set(written)) == len(written) == 100


def test_ledger_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "manifest.jsonl").mkdir()
    ledger = LedgerFile(tmp_path / "manifest.jsonl")
    with pytest.raises(StorageError, match=r"--results"):
        ledger.append(success(1))
    with pytest.raises(StorageError, match=r"--results"):
        ledger.refresh()


def test_finished_ledger_of_a_bucket_is_one_file_in_the_lists_order(s3, bucket):
    ledger = LedgerObjects(BucketShelf(s3, bucket, prefix="batch"))
    for number in (2, 0, 1):
        ledger.append(failed(number) if number == 1 else success(number))
    ledger.finish([job(0), job(1), job(2)])
    data = s3.get_object(Bucket=bucket, Key="batch/manifest.jsonl")["Body"].read()
    assert [json.loads(line)["status"] for line in data.splitlines()] == [
        "succeeded",
        "failed",
        "succeeded",
    ]


def test_bucket_that_is_not_there_is_told(s3):
    ledger = LedgerObjects(BucketShelf(s3, "no-such-bucket"))
    with pytest.raises(StorageError, match="no-such-bucket"):
        ledger.refresh()
