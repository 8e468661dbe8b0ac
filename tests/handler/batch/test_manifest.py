from __future__ import annotations

import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_runtime.errors import ServiceError
from handler.batch.job import BatchJob
from handler.batch.manifest import Record
from handler.batch.manifest_bucket import ManifestBucket
from handler.batch.manifest_file import ManifestFile
from handler.contract.errors import NotAnImageError, StorageError
from handler.contract.job_id import JobId
from handler.contract.response import Success, Timings, failure


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
def open_manifest(request, tmp_path):
    """Open the same manifest anew, as another run or another worker does."""
    if request.param == "file":
        return lambda: ManifestFile(tmp_path / "results" / "manifest.jsonl")
    client, bucket = request.getfixturevalue("s3"), request.getfixturevalue("bucket")
    return lambda: ManifestBucket(client, bucket, "batch/")


def test_what_one_run_records_the_next_one_reads(open_manifest):
    first = open_manifest()
    first.refresh()
    first.append(success(1))
    first.append(failed(2))
    second = open_manifest()
    second.refresh()
    assert second.outcome(job(1)).status == "succeeded"
    assert second.outcome(job(2)).error.code == "not_an_image"
    assert second.outcome(job(2)).error.message == "It is text."
    assert second.outcome(job(3)) is None


def test_record_of_another_worker_is_found_when_looked_up(open_manifest):
    one, other = open_manifest(), open_manifest()
    one.append(success(1))
    assert other.outcome(job(1)) is None
    assert other.look_up(job(1)).status == "succeeded"
    assert other.look_up(job(2)) is None


def test_record_of_another_request_under_the_id_does_not_count(open_manifest):
    manifest = open_manifest()
    manifest.append(success(1))
    assert open_manifest().look_up(job(1, "1" * 64)) is None


def test_success_after_a_failure_counts(open_manifest):
    manifest = open_manifest()
    manifest.append(failed(1))
    manifest.append(success(1))
    assert manifest.outcome(job(1)).status == "succeeded"
    assert open_manifest().look_up(job(1)).status == "succeeded"


def test_line_tells_all_about_the_job(tmp_path):
    manifest = ManifestFile(tmp_path / "manifest.jsonl")
    manifest.append(success(1))
    manifest.append(failed(2))
    first, second = map(json.loads, (tmp_path / "manifest.jsonl").read_text("utf-8").splitlines())
    assert first["source"] == "line 1 größer"
    assert first["response"] == success(1).response.to_json()
    assert second["attempts"] == 2
    assert second["error"]["code"] == "not_an_image"
    assert "response" not in second


def test_line_of_a_text_that_is_no_unicode_is_json_in_utf8(tmp_path):
    manifest = ManifestFile(tmp_path / "manifest.jsonl")
    record = Record(BatchJob(0, "\ud800", "a\ud800", "0" * 64), 1, failed(1).response)
    manifest.append(record)
    line = (tmp_path / "manifest.jsonl").read_text("utf-8")
    assert json.loads(line)["source"] == "a\ud800"


@given(cut=st.integers(0), count=st.integers(1, 4))
def test_wherever_the_file_is_cut_off_whole_lines_count_and_more_can_be_added(
    tmp_path_factory, cut, count
):
    path = tmp_path_factory.mktemp("manifest") / "manifest.jsonl"
    writer = ManifestFile(path)
    for number in range(count):
        writer.append(success(number))
    data = path.read_bytes()
    kept = data[: cut % (len(data) + 1)]
    path.write_bytes(kept)
    whole = len([line for line in kept.split(b"\n") if line.endswith(b"}}")])
    reopened = ManifestFile(path)
    reopened.refresh()
    assert sum(reopened.outcome(job(number)) is not None for number in range(count)) == whole
    reopened.append(success(count))
    last = ManifestFile(path)
    last.refresh()
    assert sum(last.outcome(job(number)) is not None for number in range(count + 1)) == whole + 1


def test_lines_of_many_writers_do_not_mix(tmp_path):
    path = tmp_path / "manifest.jsonl"

    def write(first: int) -> None:
        manifest = ManifestFile(path)
        for number in range(first, first + 25):
            manifest.append(success(number))

    threads = [threading.Thread(target=write, args=(100 * worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    written = [json.loads(line)["id"] for line in path.read_text("utf-8").splitlines()]
    assert len(set(written)) == len(written) == 100


def test_manifest_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "manifest.jsonl").mkdir()
    manifest = ManifestFile(tmp_path / "manifest.jsonl")
    with pytest.raises(StorageError, match=r"--results"):
        manifest.append(success(1))
    with pytest.raises(StorageError, match=r"--results"):
        manifest.refresh()


def test_finished_manifest_of_a_bucket_is_one_file_in_the_lists_order(s3, bucket):
    manifest = ManifestBucket(s3, bucket, "batch/")
    for number in (2, 0, 1):
        manifest.append(failed(number) if number == 1 else success(number))
    manifest.finish([job(0), job(1), job(2)])
    data = s3.get_object(Bucket=bucket, Key="batch/manifest.jsonl")["Body"].read()
    assert [json.loads(line)["status"] for line in data.splitlines()] == [
        "succeeded",
        "failed",
        "succeeded",
    ]


def test_bucket_that_is_not_there_is_told(s3):
    manifest = ManifestBucket(s3, "no-such-bucket", "batch/")
    with pytest.raises(StorageError, match="no-such-bucket"):
        manifest.refresh()
