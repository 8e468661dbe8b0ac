"""Delivery to a receiver over real HTTP that verifies every signature."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from platforms_support.http_server import wait_until
from platforms_support.webhook_receiver import Receiver

import handler.webhooks.pending
import handler.webhooks.webhooks
from comfyui_runtime.errors import NodeError
from handler.contract.errors import ConfigurationError, StorageError
from handler.contract.event import Webhook
from handler.contract.job_id import JobId
from handler.contract.progress import JobProgress
from handler.contract.response import OutputFile, Success, Timings, failure
from handler.settings import Settings, load_settings
from handler.shelf import FolderShelf, open_storage
from handler.webhooks import open_webhooks

JOB = JobId.of("order/7")
TIMINGS = Timings.model_validate(
    dict.fromkeys(("fetch", "validate", "queue", "run", "encode", "store", "total"), 0.1)
)


def success(**output: object) -> Success:
    made = OutputFile(
        node_id="3",
        content_type="image/png",
        width=8,
        height=8,
        bytes=3,
        sha256="0" * 64,
        **output,
    )
    return Success(
        job_id=JOB,
        given_id=JOB.given,
        workflow="invert",
        workflow_version="1",
        seed=None,
        outputs=[made],
        timings=TIMINGS,
        reused=False,
        cold_start=False,
    )


def to(receiver: Receiver, *events: str) -> Webhook:
    return Webhook(url=receiver.url, events=events or ("done",))


@pytest.fixture
def open_them(hook_settings):
    opened = []

    def make(settings: Settings = hook_settings):
        opened.append(open_webhooks(settings))
        return opened[-1]

    yield make
    for one in opened:
        one.close(0.2)


@pytest.fixture
def quick(monkeypatch):
    """Attempts follow one another at once."""
    monkeypatch.setattr(handler.webhooks.webhooks, "_FIRST_BACKOFF", 0.02)
    monkeypatch.setattr(handler.webhooks.webhooks, "_BACKOFF_FACTOR", 1.5)


def pending_files(settings: Settings) -> list[Path]:
    return sorted(settings.results_dir.glob(".webhooks/*.json"))


def test_without_a_secret_there_are_none(local_settings):
    assert open_webhooks(local_settings) is None


def test_end_of_a_job_is_told_with_its_response(open_them, make_receiver, hook_settings):
    receiver = make_receiver()
    response = success(url="https://bucket/picture.png")
    open_them().ended(JOB, to(receiver), response)
    (told,) = receiver.wait_for(1)
    assert told.path == "/hook?token=hidden-token"
    assert set(told.body) == {"type", "timestamp", "data"}
    assert told.body["type"] == "job.done"
    assert told.body["data"] == {
        "job_id": str(JOB),
        "given_id": "order/7",
        "status": "succeeded",
        "progress": None,
        "response": response.to_json(),
    }
    wait_until(lambda: not pending_files(hook_settings))


def test_failure_is_told_too_and_bytes_of_pictures_are_not(open_them, make_receiver):
    receiver = make_receiver()
    webhooks = open_them()
    webhooks.ended(JOB, to(receiver), failure(JOB, NodeError("It failed.", node_id="2")))
    receiver.wait_for(1)
    webhooks.ended(JOB, to(receiver), success(base64="QUJD"))
    failed, done = (told.body["data"]["response"] for told in receiver.wait_for(2))
    assert failed["error"]["code"] == "node_failed"
    assert done["outputs"][0]["base64"] is None
    assert done["outputs"][0]["sha256"] == "0" * 64


def test_message_that_fails_is_sent_again_under_the_same_id(open_them, make_receiver, quick):
    receiver = make_receiver(500, 429, 302, 404, 200)
    receiver.headers = {"Location": receiver.url}
    open_them().ended(JOB, to(receiver), success())
    told = receiver.wait_for(5)
    time.sleep(0.3)
    assert len(receiver.deliveries) == 5
    assert len({one.message_id for one in told}) == 1


def test_attempts_come_later_and_later():
    backoff = handler.webhooks.webhooks._backoff
    assert 4 <= backoff(1) <= 6
    assert 16 <= backoff(2) <= 24
    assert 2880 <= backoff(40) <= 4320


def test_receiver_that_says_it_is_gone_is_left_alone(open_them, make_receiver, quick, json_log):
    receiver = make_receiver(410)
    open_them().ended(JOB, to(receiver), success())
    wait_until(lambda: any(line["event"] == "webhook given up" for line in json_log))
    assert len(receiver.deliveries) == 1


@pytest.mark.parametrize(
    "bounds", [{"webhook_attempts": 3}, {"webhook_max_age": 0.05}], ids=["attempts", "age"]
)
def test_attempts_and_age_are_bounded(
    open_them, make_receiver, hook_settings, quick, json_log, bounds
):
    receiver = make_receiver(500)
    open_them(hook_settings.model_copy(update=bounds)).ended(JOB, to(receiver), success())
    wait_until(lambda: any(line["event"] == "webhook given up" for line in json_log))
    wait_until(lambda: not pending_files(hook_settings))
    assert 1 <= len(receiver.deliveries) <= 3


def test_slow_receiver_is_not_waited_for_longer_than_the_limit(
    open_them, make_receiver, hook_settings, json_log
):
    receiver = make_receiver()
    receiver.delay = 2.0
    settings = hook_settings.model_copy(update={"webhook_timeout": 0.2})
    started = time.monotonic()
    webhooks = open_them(settings)
    webhooks.ended(JOB, to(receiver), success())
    assert time.monotonic() - started < 0.2
    wait_until(lambda: any(line.get("reason") == "no answer within 0.2 s" for line in json_log))
    assert time.monotonic() - started < 1.5


def test_slow_receiver_holds_no_other_up(open_them, make_receiver):
    slow, quick_one = make_receiver(), make_receiver()
    slow.delay = 3.0
    webhooks = open_them()
    webhooks.ended(JobId.of("slow"), to(slow), success())
    webhooks.ended(JobId.of("quick"), to(quick_one), success())
    quick_one.wait_for(1, timeout=2)


def test_answer_is_not_read(open_them, make_receiver, hook_settings):
    receiver = make_receiver(200)
    receiver.answer = b"x" * 50_000_000
    open_them().ended(JOB, to(receiver), success())
    receiver.wait_for(1)
    wait_until(lambda: not pending_files(hook_settings), timeout=5)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://127.0.0.1:9/hook?token=hidden-token", "a loopback address"),
        ("http://169.254.169.254/latest", "a cloud metadata address"),
        ("http://[::ffff:10.0.0.1]/hook", "a private address"),
        ("http://2130706433/hook", "a loopback address"),
    ],
)
def test_address_inside_the_network_is_not_called(open_them, hook_settings, json_log, url, kind):
    closed = hook_settings.model_copy(update={"webhook_allowed_hosts": frozenset()})
    open_them(closed).ended(JOB, Webhook(url=url), success())
    wait_until(lambda: any(line["event"] == "webhook given up" for line in json_log))
    (given_up,) = [line for line in json_log if line["event"] == "webhook given up"]
    assert kind in given_up["reason"]
    assert given_up["job_id"] == JOB


def test_redirect_is_not_followed(open_them, make_receiver, quick):
    inside = make_receiver()
    receiver = make_receiver(307, 200)
    receiver.headers = {"Location": inside.url}
    open_them().ended(JOB, to(receiver), success())
    receiver.wait_for(2)
    assert inside.deliveries == []


def test_neither_secret_nor_query_is_logged(open_them, make_receiver, quick, json_log):
    receiver = make_receiver(500, 200)
    open_them().ended(JOB, to(receiver), success())
    receiver.wait_for(2)
    wait_until(lambda: any(line["event"] == "webhook delivered" for line in json_log))
    assert "hidden-token" not in str(json_log)
    assert "MfKQ9r8" not in str(json_log)


def test_pending_message_outlives_its_process(open_them, make_receiver, hook_settings, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    first = open_them()
    first.ended(JOB, Webhook(url=f"http://127.0.0.1:{port}/hook"), success())
    wait_until(lambda: any('"attempts":1' in f.read_text() for f in pending_files(hook_settings)))
    first.close()
    (left,) = pending_files(hook_settings)
    monkeypatch.setattr(handler.webhooks.pending, "_ORPHANED_AFTER", -60.0)
    receiver = make_receiver(port=port)
    open_them()
    (told,) = receiver.wait_for(1)
    assert told.message_id == left.stem
    assert told.body["data"]["status"] == "succeeded"
    wait_until(lambda: not pending_files(hook_settings))


def test_message_that_another_process_still_has_is_left_to_it(
    open_them, make_receiver, hook_settings
):
    receiver = make_receiver(500)
    open_them().ended(JOB, to(receiver), success())
    receiver.wait_for(1)
    open_them()
    time.sleep(0.5)
    assert len(receiver.deliveries) == 1


@pytest.mark.slow
def test_close_writes_down_what_could_not_be_sent(make_receiver, hook_settings):
    receiver = make_receiver()
    receiver.delay = 3.0
    webhooks = open_webhooks(hook_settings)
    for number in range(20):
        webhooks.ended(JobId.of(f"job-{number}"), to(receiver), success())
    started = time.monotonic()
    webhooks.close(1.0)
    assert time.monotonic() - started < 2.5
    assert len(pending_files(hook_settings)) == 20


def test_pending_messages_in_a_bucket(
    open_them, make_receiver, bucket_settings, hook_settings, monkeypatch
):
    settings = bucket_settings.model_copy(
        update={
            "webhook_secret": hook_settings.webhook_secret,
            "webhook_allowed_hosts": hook_settings.webhook_allowed_hosts,
        }
    )
    receiver = make_receiver(500, 200)
    storage = open_storage(settings)
    first = open_them(settings)
    first.ended(JOB, to(receiver), success())
    receiver.wait_for(1)
    first.close()
    assert len(list(storage.list(".webhooks/"))) == 1
    monkeypatch.setattr(handler.webhooks.pending, "_ORPHANED_AFTER", -60.0)
    open_them(settings)
    assert len({told.message_id for told in receiver.wait_for(2)}) == 1
    wait_until(lambda: not list(storage.list(".webhooks/")))


def test_shelf_that_cannot_be_written_costs_only_the_memory_of_a_crash(
    open_them, make_receiver, quick, monkeypatch
):
    def refuse(*_, **__):
        raise StorageError("full")

    for method in ("put", "list", "delete"):
        monkeypatch.setattr(FolderShelf, method, refuse)
    receiver = make_receiver(500, 200)
    open_them().ended(JOB, to(receiver), success())
    receiver.wait_for(2)


def test_unreadable_record_is_dropped(open_them, make_receiver, hook_settings):
    folder = hook_settings.results_dir / ".webhooks"
    folder.mkdir(parents=True)
    (folder / "msg_x.json").write_text("{")
    receiver = make_receiver()
    open_them().ended(JOB, to(receiver), success())
    receiver.wait_for(1)
    wait_until(lambda: not pending_files(hook_settings))


def step(number: int) -> JobProgress:
    return JobProgress(phase="run", fraction=number / 10, node="Steps", step=number, steps=10)


def test_progress_is_told_thinned_out_and_only_where_asked_for(open_them, make_receiver):
    receiver = make_receiver()
    webhooks = open_them()
    assert webhooks.listener(JOB, to(receiver, "done")) is None
    report = webhooks.listener(JOB, to(receiver, "progress"))
    for number in range(10):
        report(step(number))
    (told,) = receiver.wait_for(1)
    assert told.body["type"] == "job.progress"
    assert told.body["data"]["status"] == "running"
    assert told.body["data"]["progress"]["node"] == "Steps"
    webhooks.ended(JOB, to(receiver, "progress"), success())
    time.sleep(0.3)
    assert len(receiver.deliveries) == 1


def test_no_progress_comes_after_the_end(open_them, make_receiver, monkeypatch):
    monkeypatch.setattr(handler.webhooks.webhooks, "_PROGRESS_EVERY", 0.0)
    receiver = make_receiver()
    receiver.delay = 0.1
    webhooks = open_them()
    hook = to(receiver, "progress", "done")
    report = webhooks.listener(JOB, hook)
    for number in range(6):
        report(step(number))
        time.sleep(0.03)
    webhooks.ended(JOB, hook, success())
    wait_until(lambda: any(one.body["type"] == "job.done" for one in receiver.deliveries))
    time.sleep(0.4)
    kinds = [one.body["type"] for one in receiver.deliveries]
    assert kinds[-1] == "job.done"
    assert kinds.count("job.done") == 1
    assert len(kinds) >= 2


def test_progress_that_is_not_delivered_is_not_sent_again(open_them, make_receiver, quick):
    receiver = make_receiver(500)
    open_them().listener(JOB, to(receiver, "progress"))(step(1))
    receiver.wait_for(1)
    time.sleep(0.3)
    assert len(receiver.deliveries) == 1


def test_wrong_host_in_the_settings_is_said_at_the_start(hook_settings):
    with pytest.raises(ConfigurationError, match="Fix WEBHOOK_ALLOWED_HOSTS"):
        open_webhooks(hook_settings.model_copy(update={"webhook_allowed_hosts": {"a/b"}}))


@pytest.mark.parametrize("secret", ["short", "whsec_%%%"])
def test_secret_that_cannot_sign_is_refused_at_the_start(secret, monkeypatch):
    monkeypatch.setenv("WEBHOOK_SECRET", secret)
    with pytest.raises(ConfigurationError, match="WEBHOOK_SECRET") as refused:
        load_settings()
    assert secret not in str(refused.value)
