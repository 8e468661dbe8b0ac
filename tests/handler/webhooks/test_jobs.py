"""Jobs that send word: through the job pool, the service, RunPod's worker and the HTTP server."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest
from fake_runtime import FakeRuntime
from platforms_support.http_server import boot_service, event, wait_until

import handler.webhooks.webhooks
from handler.contract.errors import EventError, JobIdInUseError
from handler.contract.job_id import JobId
from handler.contract.progress import JobProgress
from handler.http.app import make_app
from handler.http.server import HttpServer, _webhooks
from handler.http.service import Service
from handler.inputs import InputFetcher
from handler.job.invoke import Function
from handler.job.kept import open_kept_results
from handler.job.pool import JobPool
from handler.job.records import JobRecords
from handler.job.results import Delivery
from handler.job.service import JobService
from handler.platforms.runpod import Worker
from handler.settings import Settings
from handler.shelf import open_storage
from handler.webhooks import open_webhooks


def function_of(settings: Settings, fake: FakeRuntime) -> Function:
    delivery = Delivery(open_storage(settings), open_kept_results(settings))
    return Function(settings, fake, InputFetcher(settings), delivery)


@pytest.fixture
def fake() -> FakeRuntime:
    return FakeRuntime()


@pytest.fixture
def webhooks(hook_settings):
    webhooks = open_webhooks(hook_settings)
    yield webhooks
    webhooks.close(0.2)


@pytest.fixture
def pool(hook_settings, fake, webhooks):
    pool = JobPool(function_of(hook_settings, fake), 1, webhooks=webhooks)
    yield pool
    fake.gate.set()
    pool.close(grace=0.0)


def wanting(url: str, *events: str, **more: object) -> dict[str, object]:
    webhook = {"url": url} | ({"events": list(events)} if events else {})
    return event(output={"webhook": webhook}, **more)


def submit(pool: JobPool, data: dict[str, object]):
    return pool.submit(pool.function.read(data))


def test_job_sends_word_of_its_progress_and_its_end(pool, fake, make_receiver, monkeypatch):
    monkeypatch.setattr(handler.webhooks.webhooks, "_PROGRESS_EVERY", 0.0)
    receiver = make_receiver()
    fake.seconds, fake.steps = 0.3, 3
    job = submit(pool, wanting(receiver.url, "progress", "done", id="job-1"))
    assert job.future.result(10).status == "succeeded"
    wait_until(lambda: any(one.body["type"] == "job.done" for one in receiver.deliveries))
    kinds = [one.body["type"] for one in receiver.deliveries]
    assert kinds[-1] == "job.done"
    assert "job.progress" in kinds
    told = receiver.deliveries[-1].body["data"]
    assert (told["job_id"], told["given_id"], told["status"]) == ("job-1", "job-1", "succeeded")
    assert told["response"]["outputs"][0]["key"] == "job-1/0.png"


def test_receiver_that_hangs_costs_the_job_nothing(pool, make_receiver):
    receiver = make_receiver()
    receiver.delay = 3.0
    started = time.monotonic()
    for number in range(3):
        data = wanting(receiver.url, "progress", "done", id=f"job-{number}")
        assert submit(pool, data).future.result(10).status == "succeeded"
    assert time.monotonic() - started < 2.0


def test_job_that_never_ran_sends_word_too(pool, fake, make_receiver):
    receiver = make_receiver()
    fake.gate.clear()
    submit(pool, event(id="first"))
    waiting = submit(pool, wanting(receiver.url, id="second"))
    waiting.cancel()
    (told,) = receiver.wait_for(1)
    assert told.body["data"]["response"]["error"]["code"] == "cancelled"


def test_webhook_without_a_secret_is_refused(local_settings, fake):
    function = function_of(local_settings, fake)
    with pytest.raises(EventError, match="WEBHOOK_SECRET"):
        function.read(wanting("https://example.com/hook"))


@pytest.mark.parametrize(
    "url", ["ftp://example.com", "https://user:password@example.com", "/hook", "http://a b/"]
)
def test_address_that_is_none_is_refused_when_the_event_comes(pool, url):
    with pytest.raises(EventError, match=r"Fix input\.output\.webhook\.url"):
        pool.function.read(wanting(url))
    with pytest.raises(EventError, match="Fix webhook"):
        pool.function.read(event() | {"webhook": url})


def test_event_written_for_runpod_is_understood_where_there_is_a_secret(
    pool, make_receiver, local_settings, fake
):
    receiver = make_receiver()
    data = event(id="job-1") | {"webhook": receiver.url}
    submit(pool, data)
    receiver.wait_for(1)
    assert function_of(local_settings, fake).read(data).webhook is None


@pytest.mark.parametrize("other", [None, "", 5, {"url": "https://x"}])
def test_what_another_platform_has_beside_the_input_is_ignored(pool, other):
    assert pool.function.read(event() | {"webhook": other}).webhook is None


def test_runpods_worker_leaves_runpods_webhook_to_runpod(pool, make_receiver):
    receiver = make_receiver()

    async def nowhere(*_: object) -> None:
        pass

    worker = Worker(pool, nowhere)
    data = event(id="job-1") | {"webhook": receiver.url}
    assert asyncio.run(worker.handle(data))["status"] == "succeeded"
    assert asyncio.run(worker.handle(wanting(receiver.url, id="job-2")))["status"] == "succeeded"
    (told,) = receiver.wait_for(1)
    assert told.body["data"]["job_id"] == "job-2"


def test_same_id_with_another_webhook_is_another_request(pool, fake):
    fake.gate.clear()
    submit(pool, wanting("https://example.com/a", id="job-1"))
    with pytest.raises(JobIdInUseError):
        submit(pool, wanting("https://example.com/b", id="job-1"))


def test_webhook_is_no_part_of_what_is_asked_for_where_there_is_none(pool, local_settings, fake):
    plain = pool.function.read(event(params={}))
    assert plain.fingerprint == function_of(local_settings, fake).read(event()).fingerprint


def test_job_that_was_lost_with_its_worker_is_told_by_the_next(
    hook_settings, webhooks, make_receiver, tmp_path
):
    receiver = make_receiver()
    lost = JobRecords(tmp_path / "records")
    job_id = JobId.of("job-1")
    lost.taken(job_id, wanting(receiver.url, id="job-1"))
    lost.progressed(job_id, JobProgress(phase="run", node="Steps"))
    lost.close()
    records = JobRecords(tmp_path / "records")
    JobService(hook_settings, records=records, webhooks=webhooks)
    (told,) = receiver.wait_for(1)
    assert told.body["data"]["response"]["error"]["code"] == "worker_lost"
    records.close()
    third = JobRecords(tmp_path / "records")
    JobService(hook_settings, records=third, webhooks=webhooks)
    time.sleep(0.3)
    assert len(receiver.deliveries) == 1
    third.close()


def test_server_names_its_public_address_in_results(hook_settings, fake, make_receiver):
    receiver = make_receiver()
    settings = hook_settings.model_copy(update={"public_url": "https://pictures.example.com"})
    service = Service(settings, jobs=JobService(settings, webhooks=_webhooks(settings)))
    boot_service(service, fake)
    with HttpServer(make_app(service), "127.0.0.1", 0) as server:
        data = wanting(receiver.url, id="job-1")
        url = f"http://127.0.0.1:{server.port}/v1/jobs"
        assert httpx.post(url, json=data, trust_env=False, verify=False).status_code == 202
        (told,) = receiver.wait_for(1)
        service.close()
    (output,) = told.body["data"]["response"]["outputs"]
    assert output["url"] == "https://pictures.example.com/v1/results/job-1/0.png"
    assert not list(settings.results_dir.glob(".webhooks/*"))
