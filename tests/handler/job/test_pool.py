from __future__ import annotations

import base64
import gc
import threading
import time
import weakref
from io import BytesIO
from itertools import count

import pytest
from PIL import Image

from comfyui_runtime.errors import CancelledError
from comfyui_runtime.run.progress import Progress
from handler.contract.errors import JobIdInUseError, OverloadedError, ShuttingDownError
from handler.job.pool import Job, JobPool

_numbers = count()


def photo() -> str:
    file = BytesIO()
    Image.new("RGB", (8, 8), (10, 200, 30)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def event(job_id: str, workflow: str = "invert", **params: object) -> dict[str, object]:
    job_input = {"workflow": workflow, "image": photo(), "params": params}
    return {"id": job_id, "input": job_input | {"output": {"delivery": "base64"}}}


def slow(job_id: str, steps: int = 30) -> dict[str, object]:
    # Each differs from the one before, or else ComfyUI's cache answers for it at once.
    return event(job_id, "steps", steps=steps, seconds=0.02 + next(_numbers) * 1e-6)


def submit(pool: JobPool, sent: object, *listeners) -> Job:
    return pool.submit(pool.function.read(sent), *listeners)


def wait_until(condition, timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def make_pool(function):
    pools = []

    def make(**options):
        pools.append(JobPool(function, **options))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close(grace=0.0)


def test_jobs_are_carried_out_and_leave_the_pool(make_pool):
    pool = make_pool(concurrency=2)
    jobs = [submit(pool, event(f"job-{number}")) for number in range(6)]
    responses = [job.future.result(30) for job in jobs]
    assert [response.job_id for response in responses] == [f"job-{number}" for number in range(6)]
    assert {response.status for response in responses} == {"succeeded"}
    wait_until(lambda: pool.jobs_under_way == ())


def test_status_and_progress_follow_the_job(make_pool):
    pool = make_pool(concurrency=1)
    seen = []
    job = submit(pool, slow("one"), seen.append)
    waiting = submit(pool, event("two"))
    wait_until(lambda: job.progress is not None and job.progress.step > 0)
    assert (job.status, waiting.status) == ("running", "queued")
    job.future.result(20)
    assert job.status == "succeeded"
    assert {progress.phase for progress in seen} == {"fetch", "run", "encode", "store"}


def test_event_sent_twice_at_once_runs_once(make_pool):
    pool = make_pool(concurrency=2)
    sent = slow("same")
    first = submit(pool, sent)
    again = submit(pool, sent)
    assert again is first
    assert len(pool.jobs_under_way) == 1


def test_another_event_with_an_id_that_is_under_way_is_refused(make_pool):
    pool = make_pool(concurrency=2)
    submit(pool, slow("same"))
    with pytest.raises(JobIdInUseError):
        submit(pool, event("same"))


def test_full_queue_refuses_and_takes_jobs_again_later(make_pool):
    pool = make_pool(concurrency=1, queue_limit=1)
    running = submit(pool, slow("one", 10))
    submit(pool, event("two"))
    with pytest.raises(OverloadedError):
        submit(pool, event("three"))
    running.future.result(20)
    wait_until(lambda: len(pool.jobs_under_way) < 2)
    assert submit(pool, event("three")).future.result(20).status == "succeeded"


def test_cancelled_job_ends_as_cancelled_whether_it_runs_or_waits(make_pool):
    pool = make_pool(concurrency=1)
    running = submit(pool, slow("one", 1000))
    waiting = submit(pool, event("two"))
    wait_until(lambda: running.progress is not None and running.progress.step > 0)
    waiting.cancel()
    assert waiting.future.result(0).error.code == "cancelled"
    assert pool.jobs_under_way == (running,)
    running.cancel()
    assert running.future.result(20).error.code == "cancelled"


def test_closing_hands_waiting_jobs_back_and_lets_the_running_one_end(make_pool):
    pool = make_pool(concurrency=1)
    running = submit(pool, slow("one", 20))
    waiting = submit(pool, event("two"))
    wait_until(lambda: running.progress is not None)
    closer = threading.Thread(target=pool.close, args=(20.0,))
    closer.start()
    wait_until(lambda: pool._closing)
    with pytest.raises(ShuttingDownError):
        submit(pool, event("three"))
    assert running.future.result(20).status == "succeeded"
    handed_back = waiting.future.result(20).error
    assert (handed_back.code, handed_back.retryable) == ("shutting_down", True)
    closer.join(20)


def test_running_job_is_handed_back_when_the_grace_period_is_over(make_pool):
    pool = make_pool(concurrency=1)
    running = submit(pool, slow("one", 1000))
    wait_until(lambda: running.progress is not None and running.progress.step > 0)
    pool.close(grace=0.1)
    error = running.future.result(1).error
    assert (error.code, error.retryable) == ("shutting_down", True)


def test_cancelled_job_that_waited_is_let_go_of_at_once(fake, fake_function):
    fake.gate.clear()
    pool = JobPool(fake_function, concurrency=1, queue_limit=1)
    running = submit(pool, event("one"))
    fake.wait_for_runs(1)
    for number in range(50):
        request = fake_function.read(event(f"job-{number}"))
        gone = weakref.ref(request)
        waiting = pool.submit(request)
        del request
        waiting.cancel()
        assert waiting.future.result(0).error.code == "cancelled"
    gc.collect()
    assert gone() is None
    assert pool.jobs_under_way == (running,)
    assert pool._threads._work_queue.qsize() == 0
    assert not pool._queue
    fake.gate.set()
    assert running.future.result(10).status == "succeeded"
    pool.close(grace=0.0)


def test_requests_that_wait_have_a_budget_in_bytes(fake, fake_function):
    fake.gate.clear()
    size = fake_function.read(event("any")).size
    pool = JobPool(fake_function, concurrency=1, queue_max_bytes=2 * size)
    running = submit(pool, event("running"))
    fake.wait_for_runs(1)
    waiting = [submit(pool, event(job_id)) for job_id in ("first", "second")]
    with pytest.raises(OverloadedError, match="QUEUE_MAX_BYTES"):
        submit(pool, event("third"))
    waiting[0].cancel()
    waiting.append(submit(pool, event("third")))
    fake.gate.set()
    assert [job.future.result(10).status for job in (running, *waiting[1:])] == ["succeeded"] * 3
    pool.close(grace=0.0)


def test_one_job_may_wait_however_large_it_is(fake, fake_function):
    fake.gate.clear()
    pool = JobPool(fake_function, concurrency=1, queue_max_bytes=1)
    submit(pool, event("running"))
    fake.wait_for_runs(1)
    waiting = submit(pool, event("large"))
    assert pool.full
    with pytest.raises(OverloadedError):
        submit(pool, event("small"))
    fake.gate.set()
    assert waiting.future.result(10).status == "succeeded"
    pool.close(grace=0.0)


def test_same_request_is_told_by_what_it_asks_for_not_by_how_it_says_it(fake, fake_function):
    fake.gate.clear()
    pool = JobPool(fake_function, concurrency=1)
    said = event("same")
    first = submit(pool, said)
    image = said["input"].pop("image")
    said["input"]["images"] = {"image": image}
    assert submit(pool, said) is first
    fake.gate.set()
    pool.close(grace=10.0)


@pytest.mark.slow
@pytest.mark.fault(
    "A job waits long for the device",
    "its time limit does not run meanwhile",
)
def test_time_limit_does_not_run_while_a_job_waits_for_the_device(
    fake, fake_function, local_settings
):
    fake_function.settings = local_settings.model_copy(update={"job_timeout": 0.5})
    fake.seconds = 0.3
    pool = JobPool(fake_function, concurrency=4)
    jobs = [submit(pool, event(f"job-{number}")) for number in range(4)]
    assert [job.future.result(10).status for job in jobs] == ["succeeded"] * 4
    pool.close(grace=0.0)


@pytest.mark.fault(
    "Progress is slower than the response",
    "none comes after it",
)
def test_no_progress_comes_after_the_response(fake, fake_function, monkeypatch):
    """Not even from a node that was given up and goes on."""
    late = []

    def give_up(patched, cancellation, on_progress):
        late.append(on_progress)
        raise CancelledError("The job was cancelled.")

    monkeypatch.setattr(fake, "run", give_up)
    seen = []
    pool = JobPool(fake_function, concurrency=1)
    job = submit(pool, event("one"), seen.append)
    job.future.result(10)
    before, progress = list(seen), job.progress
    late[0](Progress("2", "X", "X", 1, 2, 0.5))
    assert seen == before
    assert job.progress is progress
    pool.close(grace=0.0)


def test_listener_is_done_with_progress_before_the_response_is_there(fake, fake_function):
    ended = threading.Event()
    order = []

    def slowly(progress) -> None:
        time.sleep(0.05)
        order.append(progress.phase)

    pool = JobPool(fake_function, concurrency=1)
    job = submit(pool, event("one"), slowly)
    job.future.add_done_callback(lambda _: (order.append("response"), ended.set()))
    assert ended.wait(10)
    assert order[-1] == "response"
    pool.close(grace=0.0)


def test_job_whose_runtime_raises_no_exception_at_all_ends(fake, fake_function, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(fake, "run", interrupted)
    pool = JobPool(fake_function, concurrency=1)
    assert submit(pool, event("one")).future.result(10).error.code == "internal"
    monkeypatch.undo()
    assert submit(pool, event("two")).future.result(10).status == "succeeded"
    pool.close(grace=0.0)
