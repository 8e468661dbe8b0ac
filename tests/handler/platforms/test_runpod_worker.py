"""The adapter alone: what it hands the SDK, with runs that are made up."""

from __future__ import annotations

import asyncio
import base64
import json
from io import BytesIO

import numpy as np
import pytest
from fake_runtime import FakeRuntime
from PIL import Image
from platforms_support.http_server import wait_until

import handler.platforms.runpod
from comfyui_runtime.run.outputs import ImageOutput
from comfyui_runtime.workflow.images import PixelImage
from handler.contract.job_id import JobId
from handler.inputs import InputFetcher
from handler.job.invoke import Function
from handler.job.kept import open_kept_results
from handler.job.pool import JobPool
from handler.job.results import Delivery
from handler.platforms.runpod import Worker
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
