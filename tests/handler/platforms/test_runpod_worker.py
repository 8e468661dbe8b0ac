"""The adapter alone: what it hands the SDK, with runs that are made up."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import urllib.request
from io import BytesIO

import numpy as np
import pytest
from fake_runtime import FakeRuntime
from PIL import Image
from platforms_support.http_server import wait_until

import handler.platforms.runpod
from comfyui_runtime.errors import NodeError
from comfyui_runtime.run.outputs import ImageOutput
from comfyui_runtime.workflow.images import PixelImage
from handler.contract.job_id import JobId
from handler.inputs import InputFetcher
from handler.job.invoke import Function
from handler.job.kept import open_kept_results
from handler.job.pool import JobPool
from handler.job.results import Delivery
from handler.platforms.runpod import Worker
from handler.platforms.runpod_intake import WorkerIntake
from handler.shelf import open_storage


@pytest.fixture
def fake() -> FakeRuntime:
    return FakeRuntime()


@pytest.fixture
def pool(fake, local_settings):
    delivery = Delivery(open_storage(local_settings), open_kept_results(local_settings))
    pool = JobPool(Function(local_settings, fake, InputFetcher(local_settings), delivery), 2)
    yield pool
    pool.close(grace=0.0)


def taken(job_id: str = "job-1", **output: object) -> dict[str, object]:
    file = BytesIO()
    Image.new("RGB", (8, 8), (10, 200, 30)).save(file, "PNG")
    image = base64.b64encode(file.getvalue()).decode()
    job_input = {"workflow": "invert", "image": image, "output": output}
    return {"id": job_id, "input": job_input, "webhook": None}


async def nowhere(*_) -> None:
    pass


def handled(worker: Worker, job: dict[str, object]) -> dict[str, object]:
    return asyncio.run(worker.handle(job))


def test_response_says_the_platforms_own_id(pool):
    fitting = handled(Worker(pool, nowhere), taken("sync-5f0c-e1"))
    assert (fitting["job_id"], fitting["given_id"]) == ("sync-5f0c-e1", "sync-5f0c-e1")
    other = handled(Worker(pool, nowhere), taken("a/b"))
    assert (other["job_id"], other["given_id"]) == (JobId.of("a/b"), "a/b")


def test_refused_event_is_logged_under_its_id(pool, json_log):
    body = handled(Worker(pool, nowhere), {"id": "bad/1", "input": 5})
    assert json.loads(body["error"])["code"] == "invalid_event"
    assert [(line["event"], line["job_id"]) for line in json_log] == [
        ("job refused", JobId.of("bad/1"))
    ]


def noise(*_) -> tuple[ImageOutput, ...]:
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return (ImageOutput("3", PixelImage(pixels)),)


@pytest.mark.fault(
    "A RunPod response is over the platform's limit, with nowhere to store it",
    "an error says so",
)
def test_response_over_the_platforms_limit_is_an_error_that_says_so(pool, fake, monkeypatch):
    fake.outputs = noise
    monkeypatch.setattr(handler.platforms.runpod, "MOST_BYTES", 10_000)
    monkeypatch.setattr(handler.platforms.runpod, "MOST_BYTES_SYNC", 100_000)
    worker = Worker(pool, nowhere)
    error = json.loads(handled(worker, taken(delivery="base64"))["error"])
    assert error["code"] == "response_too_large"
    assert error["retryable"] is False
    assert error["details"]["bytes"] > error["details"]["limit"] == 10_000
    assert handled(worker, taken("sync-1", delivery="base64"))["status"] == "succeeded"
    assert handled(worker, taken("job-2"))["status"] == "succeeded"


@pytest.mark.fault(
    "Base64 results are over RunPod's limit, and there is a volume",
    "they are stored, and named by URL",
)
def test_response_over_the_platforms_limit_is_stored_on_the_volume(
    pool, fake, local_settings, monkeypatch
):
    fake.outputs = noise
    monkeypatch.setattr(handler.platforms.runpod, "MOST_BYTES", 10_000)
    monkeypatch.setattr(handler.platforms.runpod, "_VOLUME", local_settings.results_dir.parent)
    response = handled(Worker(pool, nowhere), taken(delivery="base64"))
    (output,) = response["outputs"]
    assert output["base64"] is None
    with urllib.request.urlopen(output["url"]) as answer:
        assert hashlib.sha256(answer.read()).hexdigest() == output["sha256"]
    (warning,) = response["warnings"]
    assert "stored, and named by URL" in warning
    assert len(json.dumps(response)) < 10_000


@pytest.mark.fault(
    "Base64 results are over RunPod's limit, and there is a bucket",
    "they are stored, and named by URL",
)
def test_response_over_the_platforms_limit_is_stored_in_the_bucket(
    fake, bucket_settings, monkeypatch
):
    fake.outputs = noise
    monkeypatch.setattr(handler.platforms.runpod, "MOST_BYTES", 10_000)
    monkeypatch.setattr(handler.platforms.runpod, "MOST_BYTES_SYNC", 100_000)
    delivery = Delivery(open_storage(bucket_settings), open_kept_results(bucket_settings))
    function = Function(bucket_settings, fake, InputFetcher(bucket_settings), delivery)
    pool = JobPool(function, 1)
    worker = Worker(pool, nowhere)
    stored = handled(worker, taken(delivery="base64"))["outputs"][0]
    inline = handled(worker, taken("sync-1", delivery="base64"))["outputs"][0]
    pool.close(grace=0.0)
    with urllib.request.urlopen(stored["url"]) as answer:
        assert answer.read() == base64.b64decode(inline["base64"])
    assert inline["url"] is None


def test_no_progress_is_posted_after_the_result(pool, fake, monkeypatch):
    monkeypatch.setattr(handler.platforms.runpod, "_PROGRESS_EVERY", 0.0)
    fake.steps, fake.seconds = 5, 0.1
    order = []

    async def slowly(job: dict[str, object], payload: dict[str, object]) -> None:
        await asyncio.sleep(0.15)
        order.append(payload["phase"])

    async def carry_out() -> None:
        await Worker(pool, slowly).handle(taken())
        order.append("result")
        await asyncio.sleep(0.3)

    asyncio.run(carry_out())
    assert len(order) > 1
    assert order[-1] == "result"


def test_post_of_progress_that_hangs_holds_the_result_up_for_a_moment_only(pool, fake, monkeypatch):
    monkeypatch.setattr(handler.platforms.runpod, "_PROGRESS_EVERY", 0.0)
    monkeypatch.setattr(handler.platforms.runpod, "_LAST_PROGRESS", 0.1)
    fake.seconds = 0.1

    async def for_ever(*_) -> None:
        await asyncio.sleep(3600)

    assert handled(Worker(pool, for_ever), taken())["status"] == "succeeded"


def test_progress_that_cannot_be_posted_costs_the_job_nothing(pool, fake, monkeypatch):
    monkeypatch.setattr(handler.platforms.runpod, "_PROGRESS_EVERY", 0.0)
    fake.seconds = 0.1

    async def fail(*_) -> None:
        raise RuntimeError("no network")

    assert handled(Worker(pool, fail), taken())["status"] == "succeeded"


def test_stopped_job_that_breaks_the_worker_has_it_replaced_all_the_same(pool, fake):
    fake.stubborn = True
    fake.gate.clear()
    worker = Worker(pool, nowhere)

    async def stop_it() -> None:
        job = asyncio.create_task(worker.handle(taken("stopped")))
        await asyncio.to_thread(fake.wait_for_runs, 1)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        await asyncio.to_thread(wait_until, lambda: worker.broken)

    asyncio.run(asyncio.wait_for(stop_it(), 10))
    body = handled(worker, taken("next"))
    assert body["refresh_worker"] is True
    assert json.loads(body["error"])["code"] == "worker_broken"


@pytest.fixture
def caller_pool(fake, local_settings):
    """A pool that takes graphs, as ``run_worker`` makes it."""
    settings = local_settings.with_trusted_callers()
    delivery = Delivery(open_storage(settings), open_kept_results(settings))
    pool = JobPool(Function(settings, fake, InputFetcher(settings), delivery), 2)
    yield pool
    pool.close(grace=0.0)


WORKER_GRAPH = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "dot.png"}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "result"}},
}


def worker_event(**job_input: object) -> dict[str, object]:
    file = BytesIO()
    Image.new("RGB", (8, 8), (10, 200, 30)).save(file, "PNG")
    image = {"name": "dot.png", "image": base64.b64encode(file.getvalue()).decode()}
    return {"id": "job-1", "input": {"workflow": WORKER_GRAPH, "images": [image]} | job_input}


def test_event_of_worker_comfyui_is_answered_in_its_shape(caller_pool):
    body = handled(Worker(caller_pool, nowhere), worker_event())
    assert set(body) == {"images"}
    (image,) = body["images"]
    assert (image["filename"], image["type"]) == ("result_00001_.png", "base64")
    assert Image.open(BytesIO(base64.b64decode(image["data"]))).size == (8, 8)


def test_its_failures_are_texts(caller_pool, fake):
    fake.failure = NodeError("The node 2 failed.", node_id="2")
    body = handled(Worker(caller_pool, nowhere), worker_event())
    assert body["error"] == "The node 2 failed."
    assert "node_id: 2" in body["details"]
    body = handled(Worker(caller_pool, nowhere), worker_event(images=5))
    assert body["error"].startswith("The event is not valid: input.images")
    assert "code: invalid_event" in body["details"]


def test_its_event_with_a_field_of_this_projects_own_is_answered_as_this_projects(caller_pool):
    job_input = {"images": {"dot.png": worker_event()["input"]["images"][0]["image"]}}
    assert handled(Worker(caller_pool, nowhere), worker_event(**job_input))["status"] == "succeeded"


def test_response_too_large_says_so_in_its_shape(caller_pool, fake, monkeypatch):
    fake.outputs = lambda _: (ImageOutput("2", noise()[0].image),)
    monkeypatch.setattr(handler.platforms.runpod, "MOST_BYTES", 10_000)
    body = handled(Worker(caller_pool, nowhere), worker_event())
    assert "BUCKET_ENDPOINT_URL" in body["error"]
    assert "code: response_too_large" in body["details"]


def test_worker_is_replaced_after_each_job_where_asked_for(fake, local_settings):
    settings = local_settings.model_copy(update={"refresh_worker": True})
    delivery = Delivery(open_storage(settings), open_kept_results(settings))
    pool = JobPool(Function(settings, fake, InputFetcher(settings), delivery), 1)
    body = handled(Worker(pool, nowhere), taken())
    assert (body["status"], body["refresh_worker"]) == ("succeeded", True)
    assert handled(Worker(pool, nowhere), {"id": "x", "input": 5})["refresh_worker"] is True
    pool.close(grace=0.0)


class TestIntake:
    """What the adapter tells of the jobs that the worker has."""

    def test_job_counts_until_its_end_and_is_measured(self, pool, fake):
        intake = WorkerIntake(2)
        worker = Worker(pool, nowhere, intake)
        fake.gate.clear()

        async def run() -> None:
            task = asyncio.create_task(worker.handle(taken()))
            await asyncio.to_thread(fake.wait_for_runs, 1)
            assert not intake.wants(queued=0, taken=1)
            fake.gate.set()
            await task

        asyncio.run(run())
        assert intake.wants(queued=0, taken=0)

    def test_job_that_the_sdk_has_but_not_begun_counts_as_on_its_way(self):
        assert not WorkerIntake(4).wants(queued=1, taken=1)

    def test_job_whose_result_is_being_posted_counts_for_the_bound_alone(self):
        assert WorkerIntake(4).wants(queued=0, taken=3)
        assert not WorkerIntake(4).wants(queued=0, taken=4)

    def test_refused_event_is_forgotten(self, pool):
        intake = WorkerIntake(1)
        handled(Worker(pool, nowhere, intake), {"id": "x", "input": 5})
        assert intake.wants(queued=0, taken=0)

    def test_stopped_job_counts_while_it_is_on_the_device(self, pool, fake):
        intake = WorkerIntake(4)
        worker = Worker(pool, nowhere, intake)
        fake.gate.clear()

        async def stop_it() -> None:
            job = asyncio.create_task(worker.handle(taken("stopped")))
            await asyncio.to_thread(fake.wait_for_runs, 1)
            job.cancel()
            with pytest.raises(asyncio.CancelledError):
                await job
            await asyncio.to_thread(wait_until, lambda: intake.wants(queued=0, taken=0))

        asyncio.run(asyncio.wait_for(stop_it(), 10))
