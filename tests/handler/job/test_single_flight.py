from __future__ import annotations

import base64
import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest
from PIL import Image

from comfyui_runtime.errors import CancelledError, NodeError
from comfyui_runtime.run.cancellation import Cancellation
from handler.job.single_flight import SingleFlight


def reusing(job_id: str, seed: int = 5) -> dict[str, object]:
    file = BytesIO()
    Image.new("RGB", (8, 8), (10, 200, 30)).save(file, "PNG")
    job_input = {
        "workflow": "invert",
        "image": base64.b64encode(file.getvalue()).decode(),
        "params": {"seed": seed},
        "output": {"reuse": True},
    }
    return {"id": job_id, "input": job_input}


@pytest.mark.fault(
    "Identical requests with reuse arrive at once",
    "one run",
)
def test_sixteen_identical_requests_at_once_are_one_run(fake, fake_function):
    fake.seconds = 0.1
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(fake_function.answer, (reusing(f"job-{n}") for n in range(16))))
    assert {answer.status for answer in answers} == {"succeeded"}
    assert len(fake.runs) == 1
    assert sum(answer.reused for answer in answers) == 15
    assert len({answer.outputs[0].sha256 for answer in answers}) == 1


def test_failure_of_the_first_lets_the_next_one_try(fake, fake_function):
    fake.failure = NodeError("It broke.")
    fake.gate.clear()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(fake_function.answer, reusing("first"))
        fake.wait_for_runs(1)
        second = threads.submit(fake_function.answer, reusing("second"))
        fake.gate.set()
        assert first.result(10).error.code == "node_failed"
        assert second.result(10).error.code == "node_failed"
    assert len(fake.runs) == 2


def test_requests_that_differ_do_not_wait_for_each_other(fake, fake_function):
    fake.gate.clear()
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(fake_function.answer, reusing("first"))
        fake.wait_for_runs(1)
        own = SingleFlight()
        with own.turn("a", Cancellation(10)), own.turn("b", Cancellation(10)):
            pass
        fake.gate.set()
        first.result(10)


def test_cancelled_job_does_not_wait_for_its_turn():
    flights = SingleFlight()
    cancellation = Cancellation(3600)
    refused = []

    def wait() -> None:
        with pytest.raises(CancelledError) as caught, flights.turn("key", cancellation):
            pass
        refused.append(caught.value)

    with flights.turn("key", Cancellation(10)):
        thread = threading.Thread(target=wait)
        thread.start()
        cancellation.cancel()
        thread.join(10)
        assert refused
    with flights.turn("key", Cancellation(10)):
        pass


def test_waiting_for_a_turn_does_not_count_for_the_time_limit():
    flights = SingleFlight()
    entered = threading.Event()
    cancellation = Cancellation(0.5)

    def wait() -> None:
        with flights.turn("key", cancellation):
            cancellation.check()
            entered.set()

    with flights.turn("key", Cancellation(10)):
        thread = threading.Thread(target=wait)
        thread.start()
        assert not entered.wait(0.8)
    assert entered.wait(10)
    thread.join(10)
