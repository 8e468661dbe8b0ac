"""A job that is told to stop while its result is stored loses nothing, and ends."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from comfyui_runtime.errors import CancelledError, DeadlineError
from comfyui_runtime.run.cancellation import Cancellation
from handler.contract.event import Output
from handler.job.encode import EncodedFile
from handler.job.kept import KeptResults
from handler.job.results import Delivery
from handler.shelf import FolderShelf

FILE = EncodedFile("9", b"picture", "image/png", "png", 64, 48)
REQUEST = SimpleNamespace(job_id="job", output=Output(), fingerprint="f" * 64, seed=7)


class SlowShelf(FolderShelf):
    """A storage that answers when it is let."""

    def __init__(self, folder) -> None:
        super().__init__(folder)
        self.asked = threading.Event()
        self.answers = threading.Event()

    def put(self, key, data, **more) -> None:
        self.asked.set()
        self.answers.wait(30)
        super().put(key, data, **more)


@pytest.fixture
def shelf(tmp_path):
    slow = SlowShelf(tmp_path / "results")
    yield slow
    slow.answers.set()


@pytest.fixture
def kept(tmp_path):
    return KeptResults(tmp_path / "kept", 10_000)


def deliver(shelf, kept, cancellation, grace):
    return Delivery(shelf, kept, grace).deliver(REQUEST, {}, [FILE], cancellation)


def stop_when_asked(shelf, cancellation, then=lambda: None):
    def stop():
        shelf.asked.wait(30)
        cancellation.cancel()
        then()

    threading.Thread(target=stop, daemon=True).start()


@pytest.mark.fault(
    "An upload is stopped and does not end",
    "the result stays kept",
)
def test_stopped_upload_that_does_not_end_leaves_the_result_kept(shelf, kept):
    cancellation = Cancellation(60)
    stop_when_asked(shelf, cancellation)
    with pytest.raises(CancelledError) as caught:
        deliver(shelf, kept, cancellation, grace=0.1)
    assert len(caught.value.details["kept"]) == 1
    assert "without another run" in caught.value.message
    assert [file.data for file in kept.take(REQUEST).files.values()] == [b"picture"]


@pytest.mark.fault(
    "An upload outlasts the time limit",
    "it ends with the limit",
)
def test_time_limit_holds_for_an_upload_too(shelf, kept):
    with pytest.raises(DeadlineError):
        deliver(shelf, kept, Cancellation(0.1), grace=0.1)
    assert kept.take(REQUEST) is not None


def test_stopped_upload_that_ends_in_time_is_a_success_and_nothing_stays_kept(shelf, kept):
    cancellation = Cancellation(60)

    def answer_once_kept():
        while kept.take(REQUEST) is None:
            pass
        shelf.answers.set()

    stop_when_asked(shelf, cancellation, answer_once_kept)
    results = deliver(shelf, kept, cancellation, grace=30)
    assert [output.bytes for output in results.outputs] == [7]
    assert kept.take(REQUEST) is None


def test_what_the_upload_raises_is_what_the_job_ends_with(shelf, kept):
    def refuse(*_, **__):
        raise KeyError("a defect")

    shelf.put = refuse
    with pytest.raises(KeyError):
        deliver(shelf, kept, Cancellation(60), grace=30)
