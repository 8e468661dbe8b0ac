from __future__ import annotations

import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from platforms_support.webhook_receiver import SECRET, Receiver

from comfyui_runtime.errors import UnknownWorkflowError, WorkerBrokenError
from comfyui_runtime.run.cancellation import Cancellation
from handler.batch import worker as batch_worker
from handler.batch.claims import Claim, Claims
from handler.batch.jobs import Shard
from handler.contract.errors import ConfigurationError, EventError
from handler.contract.response import failure
from handler.job.invoke import Function
from handler.settings import load_settings
from handler.shelf import FolderShelf

from .conftest import lines, png

JOB_INPUT = {"workflow": "invert"}


def event(number: int, workflow: str = "invert", **params: object) -> dict[str, object]:
    job_input = {"workflow": workflow, "image": "photo.png", "params": params}
    return {"id": f"job-{number}", "input": job_input}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(batch_worker, "_LONGEST_BACKOFF", 0.05)
    monkeypatch.setattr(batch_worker, "_PAUSE_SECONDS", 0.05)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(png((number, 0, 0)))
    return folder


def test_every_event_of_a_list_is_done_and_recorded(batch, event_list, tmp_path):
    source = event_list(event(1), event(2, "fail"), event(3), event(4, "no-such-workflow"))
    end, report = batch(source, tmp_path / "manifest.jsonl")
    assert end == "done"
    assert (report.jobs, report.succeeded, report.failed, report.left) == (4, 2, 2, 0)
    assert {(group.code, group.jobs, *group.sources) for group in report.failures} == {
        ("node_failed", 1, "line 2"),
        ("unknown_workflow", 1, "line 4"),
    }
    recorded = {line["id"]: line for line in lines(tmp_path / "manifest.jsonl")}
    assert set(recorded) == {"job-1", "job-2", "job-3", "job-4"}
    assert recorded["job-2"]["error"]["code"] == "node_failed"
    [output] = recorded["job-1"]["response"]["outputs"]
    assert (tmp_path / "results" / output["key"]).stat().st_size == output["bytes"]


def test_line_that_is_no_json_fails_alone(batch, event_list, tmp_path):
    source = event_list(event(1))
    source.write_text(f"{{\n{source.read_text()}")
    _, report = batch(source, tmp_path / "manifest.jsonl")
    assert (report.succeeded, report.failed) == (1, 1)
    assert report.failures[0].code == "invalid_event"


def test_what_is_done_is_not_done_again_and_nothing_is_started_for_it(batch, event_list, tmp_path):
    source = event_list(event(1), event(2, "fail"))
    batch(source, tmp_path / "manifest.jsonl")
    before = (tmp_path / "manifest.jsonl").read_bytes()
    batch.start = None
    end, report = batch(source, tmp_path / "manifest.jsonl")
    assert (end, report.succeeded, report.failed) == ("done", 1, 1)
    assert (tmp_path / "manifest.jsonl").read_bytes() == before


def test_event_that_was_changed_under_its_id_is_done_again(batch, event_list, tmp_path):
    batch(event_list(event(1), event(2)), tmp_path / "manifest.jsonl")
    batch(event_list(event(1), event(2, "steps", steps=2)), tmp_path / "manifest.jsonl")
    assert batch.runs == {"job-1": 1, "job-2": 2}


def test_what_failed_is_done_again_where_asked_for(batch, event_list, tmp_path):
    source = event_list(event(1), event(2, "fail"), event(3, "fail"))
    batch(source, tmp_path / "manifest.jsonl")
    _, report = batch(source, tmp_path / "manifest.jsonl", retry_failed=True)
    assert batch.runs == {"job-1": 1, "job-2": 2, "job-3": 2}
    assert (report.succeeded, report.failed) == (1, 2)


@pytest.mark.slow
def test_end_of_a_job_is_told_once_however_often_it_was_tried(batch, event_list, tmp_path):
    receiver = Receiver()
    settings = batch.settings.model_copy(
        update={
            "webhook_secret": load_settings(webhook_secret=SECRET).webhook_secret,
            "webhook_allowed_hosts": frozenset({"127.0.0.1"}),
        }
    )
    wanted = event(1)
    wanted["input"]["output"] = {"webhook": {"url": receiver.url}}
    fetched = {"input": {**wanted["input"], "image": "http://127.0.0.1:9/none.png"}, "id": "job-2"}
    _, report = batch(event_list(wanted, fetched), tmp_path / "m.jsonl", settings=settings)
    assert (report.succeeded, report.failed) == (1, 1)
    told = receiver.wait_for(2)
    receiver.close()
    assert batch.runs["job-2"] == 3
    assert {(one.body["data"]["job_id"], one.body["data"]["status"]) for one in told} == {
        ("job-1", "succeeded"),
        ("job-2", "failed"),
    }


def test_photos_of_a_folder_are_done(batch, photos, tmp_path):
    _, report = batch(photos, tmp_path / "manifest.jsonl", job_input=JOB_INPUT)
    assert report.succeeded == 3
    sources = sorted(line["source"] for line in lines(tmp_path / "manifest.jsonl"))
    assert sources == ["0.png", "1.png", "2.png"]


def test_photos_of_a_bucket_are_done_with_results_and_manifest_in_the_bucket(
    batch, s3, bucket, bucket_settings
):
    for number in range(3):
        s3.put_object(Bucket=bucket, Key=f"in/{number}.png", Body=png((number, 0, 0)))
    s3.put_object(Bucket=bucket, Key="in/broken.png", Body=b"text")
    settings = bucket_settings.model_copy(update={"bucket_prefix": "out"})
    source, results = f"s3://{bucket}/in", f"s3://{bucket}/july"
    _, report = batch(source, results, job_input=JOB_INPUT, settings=settings)
    assert (report.succeeded, report.failed) == (3, 1)
    manifest = s3.get_object(Bucket=bucket, Key="july/manifest.jsonl")["Body"].read()
    recorded = [json.loads(line) for line in manifest.splitlines()]
    assert [line["source"] for line in recorded] == ["0.png", "1.png", "2.png", "broken.png"]
    for line in recorded[:3]:
        s3.head_object(Bucket=bucket, Key=line["response"]["outputs"][0]["key"])
    names = s3.list_objects_v2(Bucket=bucket, Prefix="july/claims/")
    assert names["KeyCount"] == 0
    runs = Counter(batch.runs)
    _, again = batch(source, results, job_input=JOB_INPUT, settings=settings)
    assert (again.succeeded, again.failed) == (3, 1)
    assert batch.runs == runs


def test_photos_of_a_bucket_that_callers_may_not_read_are_read_for_its_operator(
    batch, s3, bucket, bucket_settings, tmp_path
):
    s3.create_bucket(Bucket=f"{bucket}-photos")
    s3.put_object(Bucket=f"{bucket}-photos", Key="a.png", Body=png())
    source = f"s3://{bucket}-photos"
    results = tmp_path / "manifest.jsonl"
    _, report = batch(source, results, job_input=JOB_INPUT, settings=bucket_settings)
    assert report.succeeded == 1, report


def test_list_in_a_bucket_is_done(batch, s3, bucket, bucket_settings, tmp_path):
    s3.put_object(Bucket=bucket, Key="in/photo.png", Body=png())
    job_input = {"workflow": "invert", "image": f"s3://{bucket}/in/photo.png"}
    s3.put_object(Bucket=bucket, Key="events.jsonl", Body=json.dumps({"input": job_input}))
    source = f"s3://{bucket}/events.jsonl"
    _, report = batch(source, tmp_path / "manifest.jsonl", settings=bucket_settings)
    assert report.succeeded == 1


@pytest.mark.slow
@pytest.mark.parametrize("place", ["file", "bucket"])
def test_workers_on_one_list_do_each_job_once(batch, event_list, tmp_path, place, request):
    settings = batch.settings.model_copy(update={"concurrency": 2})
    results = tmp_path / "manifest.jsonl"
    if place == "bucket":
        bucket = request.getfixturevalue("bucket")
        settings = request.getfixturevalue("bucket_settings").model_copy(update={"concurrency": 2})
        results = f"s3://{bucket}/batch"
    source = event_list(*(event(number, "steps", steps=2) for number in range(24)))
    reports = []

    def work() -> None:
        _, report = batch(source, results, settings=settings)
        reports.append(report)

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [(report.succeeded, report.left) for report in reports] == [(24, 0)] * 3
    assert batch.runs == {f"job-{number}": 1 for number in range(24)}


def test_shares_together_are_the_list(batch, event_list, tmp_path):
    source = event_list(*(event(number) for number in range(8)))
    reports = [
        batch(source, tmp_path / f"{index}.jsonl", shard=Shard(index, 2))[1] for index in (0, 1)
    ]
    assert sum(report.succeeded for report in reports) == 8
    assert batch.runs == {f"job-{number}": 1 for number in range(8)}


@pytest.mark.slow
def test_failure_that_may_pass_is_tried_again(batch, event_list, tmp_path):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if batch.runs["job"] == 3 else 503)
            self.end_headers()
            self.wfile.write(png())

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,)).start()
    url = f"http://127.0.0.1:{server.server_port}/photo.png"
    source = event_list({"id": "job", "input": {"workflow": "invert", "image": url}})
    try:
        _, report = batch(source, tmp_path / "manifest.jsonl")
    finally:
        server.shutdown()
        server.server_close()
    [line] = lines(tmp_path / "manifest.jsonl")
    assert (report.succeeded, line["attempts"]) == (1, 3)


@pytest.mark.slow
def test_failure_that_does_not_pass_is_recorded_after_the_last_try(batch, event_list, tmp_path):
    job_input = {"workflow": "invert", "image": "http://127.0.0.1:1/photo.png"}
    source = event_list({"id": "job", "input": job_input})
    _, report = batch(source, tmp_path / "manifest.jsonl", attempts=2)
    assert batch.runs == {"job": 2}
    assert report.failures[0].code == "fetch_unavailable"


def test_stopped_worker_finishes_what_runs_and_leaves_the_rest(batch, event_list, tmp_path):
    stop = threading.Event()
    settings = batch.settings.model_copy(update={"concurrency": 1})
    source = event_list(*(event(number, "steps", steps=4) for number in range(10)))

    def stop_soon(progress):
        if progress.done == 2:
            stop.set()

    batch.progress = type("Watch", (), {"append": staticmethod(stop_soon)})()
    end, report = batch(source, tmp_path / "manifest.jsonl", stop=stop, settings=settings)
    assert end == "stopped"
    assert 2 <= report.succeeded < 10
    assert (report.failed, report.left) == (0, 10 - report.succeeded)
    batch.progress = []
    end, report = batch(source, tmp_path / "manifest.jsonl")
    assert (end, report.succeeded) == ("done", 10)
    recorded = [line["id"] for line in lines(tmp_path / "manifest.jsonl")]
    assert len(recorded) == len(set(recorded)) == 10


def stop_when(condition) -> threading.Event:
    """Return an event that is set once the condition is met."""
    stop = threading.Event()

    def watch() -> None:
        ends_at = time.monotonic() + 20
        while not condition() and time.monotonic() < ends_at:
            time.sleep(0.02)
        stop.set()

    threading.Thread(target=watch, daemon=True).start()
    return stop


def claims_beside(ledger: Path, lease: float = 60) -> Claims:
    return Claims(FolderShelf(ledger.parent), f"{ledger.name}.claims/", lease)


def next_claim(ledger: Path, job_id: str) -> Claim | None:
    return claims_beside(ledger).take(job_id)


def test_job_that_does_not_end_in_time_is_given_back_and_not_recorded(batch, event_list, tmp_path):
    settings = batch.settings.model_copy(update={"concurrency": 1, "stop_grace": 0.2})
    source = event_list(event(1, "steps", steps=1000, seconds=0.01))
    stop = stop_when(lambda: batch.runs)
    end, report = batch(source, tmp_path / "m.jsonl", stop=stop, settings=settings)
    assert (end, report.left) == ("stopped", 1)
    assert not (tmp_path / "m.jsonl").exists()
    assert next_claim(tmp_path / "m.jsonl", "job-1").lost == 0


def test_job_that_waits_for_its_next_try_is_given_back(
    batch, event_list, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(batch_worker, "_LONGEST_BACKOFF", 60.0)
    job_input = {"workflow": "invert", "image": "http://127.0.0.1:1/photo.png"}
    source = event_list({"id": "job", "input": job_input})
    settings = batch.settings.model_copy(update={"input_timeout": 0.2})
    stop = stop_when(lambda: "job failed" in caplog.messages)
    end, report = batch(source, tmp_path / "m.jsonl", stop=stop, settings=settings)
    assert (end, report.left, report.failed) == ("stopped", 1, 0)
    assert batch.runs == {"job": 1}
    assert next_claim(tmp_path / "m.jsonl", "job").lost == 0


def test_job_that_workers_die_with_is_given_up(batch, event_list, tmp_path):
    for _ in range(2):
        dead = claims_beside(tmp_path / "manifest.jsonl", lease=0.05)
        dead._heartbeat._process = None
        dead._heartbeat.beat(0)
        while dead.take("job-1") is None:
            pass
    source = event_list(event(1), event(2))
    _, report = batch(source, tmp_path / "manifest.jsonl", attempts=2)
    assert (report.succeeded, report.failed) == (1, 1)
    assert report.failures[0].code == "job_crashes_workers"
    assert batch.runs == {"job-2": 1}


def test_worker_that_cannot_go_on_ends_and_counts_against_its_job(batch, event_list, tmp_path):
    class Broken:
        """A function whose device is stuck."""

        def __init__(self, settings):
            self.settings = settings.model_copy(update={"concurrency": 1, "stop_grace": 0.1})
            self.new_cancellation = Cancellation

        read = Function.read

        def invoke(self, request, *_):
            batch.runs[request.job_id] += 1
            error = WorkerBrokenError("It is stuck.")
            return failure(request.job_id, error, replace_worker=True)

    start, batch.start = batch.start, Broken
    source = event_list(*(event(number) for number in range(4)))
    end, report = batch(source, tmp_path / "manifest.jsonl")
    assert end == "broken"
    assert (report.failed, report.left) == (0, 4)
    broke = set(batch.runs)
    batch.start = start
    # The worker of that run is this very process: it would count as one that lives.
    for path in (tmp_path / "manifest.jsonl.claims" / "workers").iterdir():
        path.unlink()
    _, report = batch(source, tmp_path / "manifest.jsonl", attempts=1, lease=0.1)
    assert report.succeeded == 4 - len(broke)
    assert report.failures[0].code == "job_crashes_workers"


def test_job_that_another_worker_took_over_is_not_recorded_twice(batch, event_list, tmp_path):
    source = event_list(event(1, "steps", steps=20))
    thief = claims_beside(tmp_path / "manifest.jsonl")
    thief._heartbeat.beat(0)
    start = batch.start

    def stolen(settings):
        function = start(settings)
        carry_out = function.invoke

        def invoke(request, cancellation, on_progress):
            job_id = request.job_id
            if batch.runs[job_id] == 0:
                [holder] = thief._holders(job_id)
                path = tmp_path / "manifest.jsonl.claims" / "workers" / holder.worker
                beat = json.loads(path.read_bytes())
                # As if this process had been gone: the thief takes the job over, then dies.
                path.write_text(json.dumps({**beat, "process": {**beat["process"], "started": 0}}))
                assert thief.take(job_id)
                path = tmp_path / "manifest.jsonl.claims" / "workers" / thief._worker
                path.write_text(json.dumps({**beat, "process": {**beat["process"], "started": 0}}))
            return carry_out(request, cancellation, on_progress)

        function.invoke = invoke
        return function

    batch.start = stolen
    end, report = batch(source, tmp_path / "manifest.jsonl")
    assert (end, report.succeeded) == ("done", 1)
    assert batch.runs == {"job-1": 2}
    assert len(lines(tmp_path / "manifest.jsonl")) == 1


def test_progress_is_told_from_what_was_done_before_to_the_end(batch, event_list, tmp_path):
    batch(event_list(event(1), event(2, "fail")), tmp_path / "manifest.jsonl")
    batch.progress.clear()
    source = event_list(event(1), event(2, "fail"), event(3))
    batch(source, tmp_path / "manifest.jsonl")
    told = [(progress.done, progress.failed, progress.jobs) for progress in batch.progress]
    assert told[0] == (2, 1, 3)
    assert told[-1] == (3, 1, 3)


def test_claims_are_gone_when_all_is_done(batch, event_list, tmp_path):
    batch(event_list(event(1)), tmp_path / "manifest.jsonl")
    assert sorted(path.name for path in Path(tmp_path).glob("manifest*")) == ["manifest.jsonl"]


def test_what_would_fail_every_photo_is_told_before_anything_starts(batch, photos, tmp_path):
    batch.start = None
    with pytest.raises(UnknownWorkflowError):
        batch(photos, tmp_path / "m.jsonl", job_input={"workflow": "no-such-workflow"})
    with pytest.raises(EventError, match="--workflow"):
        batch(photos, tmp_path / "m.jsonl")
    with pytest.raises(EventError, match=r"output\.format"):
        batch(photos, tmp_path / "m.jsonl", job_input={**JOB_INPUT, "output": {"format": "gif"}})


def test_options_beside_a_list_are_refused_instead_of_left_out(batch, event_list, tmp_path):
    with pytest.raises(EventError, match="workflow"):
        batch(event_list(event(1)), tmp_path / "m.jsonl", job_input=JOB_INPUT)


def test_results_among_the_photos_are_refused(batch, photos, tmp_path):
    settings = batch.settings.model_copy(update={"results_dir": photos / "out"})
    with pytest.raises(ConfigurationError, match="among the photos"):
        batch(photos, tmp_path / "m.jsonl", job_input=JOB_INPUT, settings=settings)
