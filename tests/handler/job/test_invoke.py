from __future__ import annotations

import base64
import hashlib
import json
import logging
import struct
import threading
import time
import urllib.request
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from time_bounds import SOON

from comfyui_runtime.run.cancellation import Cancellation
from handler.contract.errors import StorageError
from handler.contract.response import Failure, Success
from handler.log import JsonFormatter


def event(image, workflow="invert", **more):
    return {"input": {"workflow": workflow, "image": image, **more}}


def succeeded(response) -> Success:
    assert isinstance(response, Success), response
    return response


def failed(response, code: str) -> Failure:
    assert isinstance(response, Failure), response
    assert response.error.code == code
    assert response.error.message
    return response


def assert_next_job_runs(function, photo_url) -> None:
    succeeded(function.answer(event(photo_url)))


def fetched(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as response:
        return response.read()


def pixels_of(data: bytes) -> np.ndarray:
    with Image.open(BytesIO(data)) as picture:
        return np.asarray(picture)


def test_event_becomes_a_picture_in_the_bucket(make_function, bucket_settings, photo, photo_url):
    function = make_function(bucket_settings)
    response = succeeded(function.answer({"id": "job-1", **event(photo_url)}))
    (output,) = response.outputs
    data = fetched(output.url)
    assert output.key == "job-1/0.png"
    assert (output.width, output.height) == (64, 48)
    assert output.bytes == len(data)
    assert output.sha256 == hashlib.sha256(data).hexdigest()
    assert output.content_type == "image/png"
    assert np.abs(pixels_of(data).astype(int) - (255 - photo.pixels)).max() <= 1


def test_response_tells_seed_workflow_timings_and_cold_start(function, photo_url):
    first = succeeded(function.answer(event(photo_url)))
    second = succeeded(function.answer(event(photo_url, params={"seed": 7})))
    assert (first.workflow, first.workflow_version) == ("invert", "1")
    assert 0 <= first.seed < 2**53
    assert second.seed == 7
    assert (first.cold_start, second.cold_start) == (True, False)
    timings = first.to_json()["timings"]
    assert set(timings) == {"fetch", "validate", "queue", "run", "encode", "store", "total"}
    assert timings["total"] >= sum(timings.values()) - timings["total"] - 0.001


def test_repeated_job_overwrites_its_own_result(make_function, bucket_settings, photo_url):
    function = make_function(bucket_settings)
    same = {"id": "job-1", **event(photo_url)}
    first = succeeded(function.answer(same)).outputs[0]
    again = succeeded(function.answer(same)).outputs[0]
    other = succeeded(function.answer({**same, "id": "job-2"})).outputs[0]
    assert first.key == again.key
    assert other.key != first.key


def test_inline_delivery_needs_no_bucket(function, photo, photo_url, local_settings):
    response = function.answer(event(photo_url, output={"delivery": "base64"}))
    (output,) = succeeded(response).outputs
    data = base64.b64decode(output.base64)
    assert output.url is None
    assert pixels_of(data).shape == photo.pixels.shape
    assert not local_settings.results_dir.exists()


def test_data_uri_and_bare_base64_are_images_too(function, photo_url):
    data = base64.b64encode(fetched(photo_url)).decode()
    urls = [photo_url, f"data:image/png;base64,{data}", data]
    hashes = {succeeded(function.answer(event(url))).outputs[0].sha256 for url in urls}
    assert len(hashes) == 1


def test_workflow_is_embedded_in_the_png_only_when_asked_for(function, photo_url):
    def text_of(**output):
        response = succeeded(function.answer(event(photo_url, output=output)))
        with Image.open(BytesIO(fetched(response.outputs[0].url))) as picture:
            return picture.info

    assert "prompt" not in text_of()
    graph = json.loads(text_of(embed_workflow=True)["prompt"])
    assert {node["class_type"] for node in graph.values()} == {
        "LoadImage",
        "ImageInvert",
        "SaveImage",
    }


def test_every_output_is_stored_under_a_key_of_its_own(function, photo_url):
    pictures = succeeded(function.answer({"id": "b", **event(photo_url, "batch")})).outputs
    assert [output.key for output in pictures] == ["b/0.png", "b/1.png", "b/2.png"]
    picture, text = succeeded(function.answer({"id": "t", **event(photo_url, "text")})).outputs
    assert picture.content_type == "image/png"
    assert text.content_type.startswith("text/plain")
    assert (text.width, text.height) == (None, None)
    assert fetched(text.url) == b"hello"


def test_progress_goes_through_the_phases_in_order(function, photo_url):
    seen = []
    function.invoke(function.read(event(photo_url, "steps")), on_progress=seen.append)
    phases = [progress.phase for progress in seen]
    assert phases == sorted(phases, key=["fetch", "run", "encode", "store"].index)
    assert set(phases) == {"fetch", "run", "encode", "store"}
    assert [progress.step for progress in seen if progress.node == "Steps"] == [0, 1, 2, 3, 4]


def bomb() -> bytes:
    """A PNG of about 1 kB that says it is 50,000 x 50,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1_000_000)))
        + chunk(b"IEND", b"")
    )


BAD_EVENTS = {
    "empty event": ({}, "invalid_event"),
    "no event at all": (None, "invalid_event"),
    "wrong type": ({"input": {"workflow": "invert", "image": 5}}, "invalid_event"),
    "unknown field": ({"input": {"workflow": "invert", "imgae": "x"}}, "invalid_event"),
    "unknown workflow": (event("aGk=", "no-such"), "unknown_workflow"),
    "unknown parameter": (event("aGk=", params={"denoise": 1}), "invalid_parameter"),
    "parameter out of range": (event("aGk=", "steps", params={"steps": 0}), "invalid_parameter"),
    "no image": ({"input": {"workflow": "invert"}}, "invalid_parameter"),
    "URL to nowhere": (event("http://127.0.0.1:9/x.png"), "fetch_unavailable"),
    "metadata address": (event("http://169.254.169.254/latest/"), "forbidden_address"),
    "image bomb": (event(base64.b64encode(bomb()).decode()), "input_too_large"),
    "graph with a cycle": (event("aGk=", "cycle"), "workflow_broken"),
}


@pytest.mark.parametrize("name", BAD_EVENTS)
def test_bad_event_ends_in_one_clear_error_and_the_next_job_runs(function, photo_url, name):
    bad, code = BAD_EVENTS[name]
    failed(function.answer(bad), code)
    assert_next_job_runs(function, photo_url)


def test_text_file_named_png_is_refused_by_its_content(function, photo_url):
    failed(function.answer(event(photo_url.replace("photo.png", "text.png"))), "not_an_image")
    assert_next_job_runs(function, photo_url)


@pytest.mark.parametrize(
    ("kind", "code", "retryable"),
    [
        ("ValueError", "node_failed", False),
        ("torch.OutOfMemoryError", "out_of_memory", True),
        ("interrupt", "interrupted", True),
        ("SystemExit", "node_failed", False),
    ],
)
def test_failing_node_fails_its_job_only(function, photo_url, kind, code, retryable):
    response = function.answer(event(photo_url, "fail", params={"kind": kind}))
    error = failed(response, code).error
    assert error.retryable is retryable
    assert error.details["node_id"] == "2"
    assert not response.replace_worker
    assert_next_job_runs(function, photo_url)


@pytest.mark.fault(
    "The bucket refuses a result",
    "it is kept; the same job delivers it without a run",
)
def test_bucket_that_refuses_keeps_the_result_and_the_same_job_delivers_it_without_a_run(
    make_function, bucket_settings, photo_url, tmp_path
):
    same = {"id": "job-1", **event(photo_url)}
    refusing = bucket_settings.model_copy(update={"bucket_name": "no-such-bucket"})
    response = failed(make_function(refusing).answer(same), "storage_refused")
    (told,) = response.error.details["kept"]
    assert told.startswith("RESULTS_DIR/.unsent/")
    kept = told.replace("RESULTS_DIR", str(bucket_settings.results_dir))
    assert pixels_of(Path(kept).read_bytes()).shape == (48, 64, 3)

    seen = []
    function = make_function(bucket_settings)
    delivered = succeeded(function.invoke(function.read(same), on_progress=seen.append))
    assert seen == []
    assert pixels_of(fetched(delivered.outputs[0].url)).shape == (48, 64, 3)
    assert delivered.seed is not None
    assert not Path(kept).exists()


def test_no_jobs_result_is_in_the_way_of_anothers(function, photo_url):
    jobs = [("d-6", ""), ("x", "d-6/0.png"), ("0.png", "d-6"), ("y", "unsent"), ("y", "reuse")]
    outputs = []
    for job_id, prefix in jobs:
        same = event(photo_url, output={"prefix": prefix, "reuse": True}, params={"seed": 1})
        outputs += succeeded(function.answer({"id": job_id, **same})).outputs
    assert len({output.key for output in outputs}) == len(jobs)
    for output in outputs:
        assert hashlib.sha256(fetched(output.url)).hexdigest() == output.sha256


@pytest.mark.fault(
    "Bucket and disk both refuse",
    "the bucket's failure is told",
)
def test_bucket_and_disk_that_both_refuse_are_told_by_what_the_bucket_said(
    make_function, bucket_settings, photo_url, tmp_path
):
    (tmp_path / "full").write_text("a file where the folder should be")
    unreachable = bucket_settings.model_copy(
        update={
            "bucket_endpoint_url": "http://127.0.0.1:1",
            "bucket_attempts": 1,
            "kept_results_dir": tmp_path / "full",
        }
    )
    response = failed(make_function(unreachable).answer(event(photo_url)), "storage_unavailable")
    assert response.error.retryable
    assert response.error.details["reason"] == "EndpointConnectionError"
    assert "KEPT_RESULTS_DIR" in response.error.details["not_kept"]
    assert "kept" not in response.error.details


def test_kept_result_that_cannot_be_removed_is_delivered_all_the_same(
    make_function, bucket_settings, photo_url, monkeypatch
):
    same = {"id": "job-1", **event(photo_url)}
    refusing = bucket_settings.model_copy(update={"bucket_name": "no-such-bucket"})
    failed(make_function(refusing).answer(same), "storage_refused")
    function = make_function(bucket_settings)

    def read_only(_):
        raise StorageError("The folder cannot be written to.")

    monkeypatch.setattr(function._delivery._kept, "forget", read_only)
    succeeded(function.answer(same))


@pytest.mark.fault(
    "A reuse record cannot be written",
    "success, with a warning",
)
def test_reuse_record_that_cannot_be_written_is_a_warning_of_a_success(
    make_function, local_settings, photo_url
):
    local_settings.results_dir.mkdir()
    (local_settings.results_dir / ".reuse").write_text("a file where the folder should be")
    same = event(photo_url, "invert", params={"seed": 5}, output={"reuse": True})
    response = succeeded(make_function(local_settings).answer({"id": "one", **same}))
    assert pixels_of(fetched(response.outputs[0].url)).shape == (48, 64, 3)
    [warning] = response.warnings
    assert "identical request" in warning
    assert "RESULTS_DIR" in warning


def test_job_that_went_well_has_no_warnings(function, photo_url):
    assert succeeded(function.answer(event(photo_url))).warnings == []


def test_kept_result_is_not_delivered_to_a_job_that_asks_for_something_else(
    make_function, bucket_settings, photo_url
):
    same = {"id": "job-1", **event(photo_url)}
    refusing = bucket_settings.model_copy(update={"bucket_name": "no-such-bucket"})
    failed(make_function(refusing).answer(same), "storage_refused")
    other = {"id": "job-1", **event(photo_url, "steps")}
    seen = []
    function = make_function(bucket_settings)
    succeeded(function.invoke(function.read(other), on_progress=seen.append))
    assert "run" in {progress.phase for progress in seen}


@pytest.mark.parametrize("storage", ["bucket_settings", "local_settings"])
def test_identical_request_is_answered_from_the_stored_result_without_a_run(
    make_function, request, storage, photo_url
):
    function = make_function(request.getfixturevalue(storage))
    same = event(photo_url, "invert", params={"seed": 5}, output={"reuse": True})
    first = succeeded(function.answer({"id": "one", **same}))
    seen = []
    second = succeeded(
        function.invoke(function.read({"id": "two", **same}), on_progress=seen.append)
    )
    assert (first.reused, second.reused) == (False, True)
    assert {progress.phase for progress in seen} == {"fetch"}
    assert second.timings.run == 0
    assert second.outputs[0].key == first.outputs[0].key
    assert fetched(second.outputs[0].url) == fetched(first.outputs[0].url)


@pytest.mark.parametrize(
    "change",
    [
        {"params": {"seed": 6}},
        {"params": {"seed": 5}, "output": {"reuse": True, "format": "webp"}},
        {"params": {"seed": 5}, "output": {"reuse": True, "prefix": "someone-else"}},
        {"params": {"seed": 5}, "output": {"reuse": False}},
        {"params": {}},
    ],
)
def test_request_that_differs_or_does_not_allow_it_is_run(function, photo_url, change):
    base = {"params": {"seed": 5}, "output": {"reuse": True}}
    succeeded(function.answer(event(photo_url, "invert", **base)))
    other = succeeded(function.answer(event(photo_url, "invert", **(base | change))))
    assert not other.reused


def test_result_that_was_replaced_or_removed_is_not_reused(
    make_function, local_settings, photo_url
):
    function = make_function(local_settings)
    same = event(photo_url, "invert", params={"seed": 5}, output={"reuse": True})
    path = local_settings.results_dir / "one" / "0.png"
    succeeded(function.answer({"id": "one", **same}))
    path.write_bytes(b"something else")
    assert not succeeded(function.answer({"id": "one", **same})).reused
    path.unlink()
    assert not succeeded(function.answer({"id": "one", **same})).reused


def test_cancelled_job_is_a_failure_and_the_next_job_runs(function, photo_url):
    cancellation = Cancellation(30)
    slow = event(photo_url, "steps", params={"steps": 1000, "seconds": 0.02})

    def cancel(progress):
        if progress.step == 2:
            cancellation.cancel()

    failed(function.invoke(function.read(slow), cancellation, cancel), "cancelled")
    assert_next_job_runs(function, photo_url)


def test_time_limit_of_the_settings_ends_a_job(make_function, local_settings, photo_url):
    function = make_function(local_settings.model_copy(update={"job_timeout": 0.5}))
    slow = event(photo_url, "steps", params={"steps": 1000, "seconds": 0.02})
    started = time.monotonic()
    failed(function.answer(slow), "deadline_exceeded")
    assert time.monotonic() - started < SOON
    assert_next_job_runs(function, photo_url)


def test_defect_of_our_own_is_an_internal_error_with_the_job_id_and_no_internals(
    function, photo_url, monkeypatch, caplog
):
    def broken(*_):
        raise RuntimeError("a secret detail")

    with monkeypatch.context() as patched:
        patched.setattr(function.runtime, "run", broken)
        response = failed(function.answer({"id": "job-9", **event(photo_url)}), "internal")
    assert "job-9" in response.error.message
    assert "secret" not in json.dumps(response.to_json())
    assert "a secret detail" in caplog.text
    assert_next_job_runs(function, photo_url)


def test_log_records_of_every_thread_carry_the_job_id_and_no_image(function, photo_url):
    lines = []

    class Collector(logging.Handler):
        def emit(self, record):
            lines.append(json.loads(JsonFormatter().format(record)))

    collector = Collector()
    logging.getLogger().addHandler(collector)
    image = base64.b64encode(fetched(photo_url)).decode()
    try:
        function.answer({"id": "job-7", **event(image, "fail")})
    finally:
        logging.getLogger().removeHandler(collector)
    assert {line["job_id"] for line in lines} == {"job-7"}
    # One is ComfyUI's own, from the thread that runs the graph.
    assert {line["logger"] for line in lines} >= {"root", "handler.job.invoke"}
    assert image[:60] not in json.dumps(lines)


def test_concurrent_jobs_each_get_their_own_picture(function, photo):
    results = {}

    def job(number):
        pixels = np.full((8, 8, 3), number * 10, dtype=np.uint8)
        file = BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        image = base64.b64encode(file.getvalue()).decode()
        response = function.answer(event(image, output={"delivery": "base64"}))
        picture = pixels_of(base64.b64decode(succeeded(response).outputs[0].base64))
        results[number] = int(picture[0, 0, 0])

    threads = [threading.Thread(target=job, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert set(results) == set(range(8))
    assert all(abs(value - (255 - number * 10)) <= 1 for number, value in results.items())
