from __future__ import annotations

import contextvars
import logging
import threading
import time
import weakref
from concurrent.futures import CancelledError, wait

import pytest

from comfyui_runtime.in_process.device_thread import DeviceThread

job = contextvars.ContextVar("job", default="none")


@pytest.fixture
def make_thread():
    threads = []

    def make(tidy=lambda: None, tidy_every=10.0):
        threads.append(DeviceThread(tidy, tidy_every))
        return threads[-1]

    yield make
    for thread in threads:
        thread.stop(5)


@pytest.fixture
def device(make_thread):
    return make_thread()


@pytest.fixture
def gate(device):
    """Hold the thread up until the gate is opened."""
    started, opened = threading.Event(), threading.Event()
    device.submit(lambda: (started.set(), opened.wait(5)))
    assert started.wait(5)
    yield opened
    opened.set()


def test_result_reaches_the_caller(device):
    assert device.submit(lambda: 21 * 2).result(5) == 42


def test_calls_run_in_one_thread_that_is_not_the_callers(device):
    names = {device.submit(threading.get_ident).result(5) for _ in range(5)}
    assert len(names) == 1
    assert threading.get_ident() not in names


def test_calls_run_in_their_order_and_never_two_at_once(device):
    running, most, order = [], [], []

    def call(number):
        running.append(number)
        most.append(len(running))
        order.append(number)
        running.remove(number)

    wait([device.submit(lambda n=n: call(n)) for n in range(100)], 5)
    assert order == list(range(100))
    assert set(most) == {1}


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt])
def test_exception_reaches_the_caller_and_the_thread_goes_on(device, kind):
    def fail():
        raise kind("no")

    with pytest.raises(kind, match="no"):
        device.submit(fail).result(5)
    assert device.submit(lambda: "next").result(5) == "next"


def test_call_cancelled_before_it_starts_is_not_made(device, gate):
    calls = []
    future = device.submit(lambda: calls.append(1))
    after = device.submit(lambda: "after")
    assert future.cancel()
    gate.set()
    assert after.result(5) == "after"
    assert calls == []
    with pytest.raises(CancelledError):
        future.result(5)


def test_call_that_runs_cannot_be_cancelled(device):
    started, opened = threading.Event(), threading.Event()
    future = device.submit(lambda: (started.set(), opened.wait(5))[1])
    assert started.wait(5)
    assert not future.cancel()
    opened.set()
    assert future.result(5) is True


def test_call_sees_its_callers_context_variables_and_keeps_its_own_changes(device):
    def call():
        seen = job.get()
        job.set("changed on the device")
        return seen

    token = job.set("first")
    first = device.submit(call)
    job.set("second")
    second = device.submit(call)
    assert (first.result(5), second.result(5)) == ("first", "second")
    assert job.get() == "second"
    job.reset(token)


def test_memory_is_tidied_after_a_call_once_the_time_has_passed(make_thread):
    tidied = threading.Event()
    device = make_thread(tidied.set, tidy_every=0.0)
    assert not tidied.wait(0.05)
    device.submit(lambda: None).result(5)
    assert tidied.wait(5)


def test_memory_is_not_tidied_after_every_call(make_thread):
    tidied = []
    device = make_thread(lambda: tidied.append(1), tidy_every=60.0)
    wait([device.submit(lambda: None) for _ in range(50)], 5)
    device.submit(lambda: None).result(5)
    assert tidied == []


def test_result_does_not_wait_for_the_tidying(make_thread):
    opened = threading.Event()
    device = make_thread(lambda: opened.wait(5), tidy_every=0.0)
    assert device.submit(lambda: 1).result(5) == 1
    assert not opened.is_set()
    opened.set()


def test_failing_tidy_is_logged_and_the_thread_goes_on(make_thread, caplog):
    def tidy():
        raise RuntimeError("no memory for tidying")

    device = make_thread(tidy, tidy_every=0.0)
    with caplog.at_level(logging.ERROR):
        assert device.submit(lambda: 1).result(5) == 1
        assert device.submit(lambda: 2).result(5) == 2
    (record, *_) = caplog.records
    assert record.getMessage() == "memory could not be tidied"
    assert "no memory for tidying" in str(record.exc_info[1])


def test_thread_keeps_nothing_of_a_call_that_has_ended(device):
    class Picture:
        pass

    def call():
        picture = Picture()
        kept.append(weakref.ref(picture))
        return picture

    kept = []
    device.submit(call).result(5)
    ends_at = time.monotonic() + 5
    while kept[0]() is not None and time.monotonic() < ends_at:
        time.sleep(0.001)
    assert kept[0]() is None


def test_busy_seconds_grow_while_a_call_runs_and_only_then(device, gate):
    first = device.busy_seconds
    time.sleep(0.01)
    assert device.busy_seconds >= first + 0.01
    gate.set()
    ends_at = time.monotonic() + 5
    while device._busy_since is not None and time.monotonic() < ends_at:
        time.sleep(0.001)
    after = device.busy_seconds
    time.sleep(0.01)
    assert device.busy_seconds == after


def test_stopped_thread_ends_after_the_queued_calls(make_thread):
    device = make_thread()
    opened = threading.Event()
    done = [device.submit(lambda: opened.wait(5)), device.submit(lambda: "queued")]
    stopping = threading.Thread(target=lambda: device.stop(5))
    stopping.start()
    opened.set()
    stopping.join(5)
    assert not device._thread.is_alive()
    assert [future.result(0) for future in done] == [True, "queued"]


def test_stop_waits_no_longer_than_told(device, gate):
    device.stop(0.01)
    assert device._thread.is_alive()
    gate.set()
    device._thread.join(5)
    assert not device._thread.is_alive()


def test_call_after_the_stop_is_refused_instead_of_waited_for(make_thread):
    device = make_thread()
    device.stop(5)
    with pytest.raises(RuntimeError, match="stopped"):
        device.submit(lambda: 1)
    device.stop(5)
