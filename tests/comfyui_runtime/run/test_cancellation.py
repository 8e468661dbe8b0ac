from __future__ import annotations

import threading
import time

import pytest

from comfyui_runtime.errors import CancelledError, DeadlineError
from comfyui_runtime.run.cancellation import Cancellation


def test_job_may_go_on_until_told_otherwise():
    cancellation = Cancellation()
    cancellation.check()
    assert not cancellation.requested
    assert not cancellation.cancelled
    assert cancellation.remaining is None


def test_job_may_go_on_until_its_time_is_up():
    cancellation = Cancellation(60)
    cancellation.check()
    assert not cancellation.requested
    assert 0 < cancellation.remaining <= 60


def test_cancelled_job_is_to_stop_for_good():
    cancellation = Cancellation(60)
    cancellation.cancel()
    cancellation.cancel()
    assert cancellation.cancelled
    assert cancellation.requested
    with pytest.raises(CancelledError) as caught:
        cancellation.check()
    assert not caught.value.retryable


def test_job_whose_time_is_up_is_to_stop_with_advice():
    cancellation = Cancellation(0.01)
    time.sleep(0.02)
    assert cancellation.remaining == 0.0
    assert cancellation.requested
    assert not cancellation.cancelled
    with pytest.raises(DeadlineError, match=r"within 0\.01 s.*JOB_TIMEOUT_SECONDS") as caught:
        cancellation.check()
    assert caught.value.details == {"timeout_seconds": 0.01}
    assert caught.value.retryable


def test_job_cancelled_after_its_time_counts_as_cancelled():
    cancellation = Cancellation(0)
    cancellation.cancel()
    with pytest.raises(CancelledError):
        cancellation.check()


def test_callback_is_called_in_the_thread_that_cancels():
    cancellation = Cancellation()
    called_in = []
    cancellation.on_cancel(lambda: called_in.append(threading.current_thread()))
    assert called_in == []
    thread = threading.Thread(target=cancellation.cancel)
    thread.start()
    thread.join(5)
    assert called_in == [thread]


def test_callback_is_called_once_however_often_the_job_is_cancelled():
    cancellation = Cancellation()
    calls = []
    cancellation.on_cancel(lambda: calls.append(1))
    cancellation.cancel()
    cancellation.cancel()
    assert calls == [1]


def test_callback_given_after_the_cancellation_is_called_at_once():
    cancellation = Cancellation()
    cancellation.cancel()
    calls = []
    cancellation.on_cancel(lambda: calls.append(1))
    assert calls == [1]


def test_callback_taken_back_is_not_called_and_the_others_are():
    cancellation = Cancellation()
    calls = []
    take_back = cancellation.on_cancel(lambda: calls.append("first"))
    cancellation.on_cancel(lambda: calls.append("second"))
    take_back()
    take_back()
    cancellation.cancel()
    take_back()
    assert calls == ["second"]


def test_callback_may_take_itself_back():
    cancellation = Cancellation()
    calls = []

    def once():
        take_back()
        calls.append(1)

    take_back = cancellation.on_cancel(once)
    cancellation.cancel()
    assert calls == [1]


def test_deadline_alone_calls_no_callback():
    cancellation = Cancellation(0)
    calls = []
    cancellation.on_cancel(lambda: calls.append(1))
    assert cancellation.requested
    assert calls == []


def test_callback_added_while_another_thread_cancels_is_called_exactly_once():
    for _ in range(300):
        cancellation = Cancellation()
        calls = []
        canceller = threading.Thread(target=cancellation.cancel)
        canceller.start()
        cancellation.on_cancel(lambda calls=calls: calls.append(1))
        canceller.join(5)
        assert calls == [1]


def test_time_stands_still_while_it_is_paused():
    cancellation = Cancellation(0.2)
    with cancellation.paused():
        assert cancellation.is_paused
        time.sleep(0.3)
        assert cancellation.remaining > 0
        cancellation.check()
    assert 0 < cancellation.remaining <= 0.2
    time.sleep(0.25)
    with pytest.raises(DeadlineError):
        cancellation.check()


def test_paused_job_can_be_cancelled():
    cancellation = Cancellation(60)
    with cancellation.paused():
        cancellation.cancel()
        assert cancellation.requested
    with pytest.raises(CancelledError):
        cancellation.check()


def test_job_without_a_limit_can_be_paused():
    cancellation = Cancellation()
    with cancellation.paused():
        assert cancellation.remaining is None
    cancellation.resume()
    assert not cancellation.is_paused
