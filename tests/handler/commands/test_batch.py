from __future__ import annotations

import io
import json
import os
import signal
import threading
import time

import pytest

import handler.batch.run
from comfyui_runtime.errors import NoGpuError
from handler.batch.backlog import FailureGroup, Report
from handler.batch.jobs import Shard
from handler.batch.run import BatchProgress
from handler.commands import batch as batch_command
from handler.contract.errors import StorageUnavailableError


@pytest.fixture(autouse=True)
def _signals_as_they_were():
    numbers = (signal.SIGTERM, signal.SIGINT)
    usual = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, effect in usual.items():
        signal.signal(number, effect)


@pytest.fixture
def ran(monkeypatch):
    """Stand in for the batch itself; ``ran`` holds the options it got, ``ends`` how it ends."""

    class Ran:
        options = None
        ends = ("done", Report(jobs=2, succeeded=2, failed=0, left=0, seconds=1.0, failures=[]))

        def __call__(self, _, options, stop, on_progress):
            self.options = options
            if callable(self.ends):
                return self.ends(stop, on_progress)
            return self.ends

    ran = Ran()
    monkeypatch.setattr(handler.batch.run, "run_batch", ran)
    return ran


def report(**counts: int) -> Report:
    group = FailureGroup(code="no_output", jobs=1, sources=["line 1"], message="größer")
    failures = [group] if counts["failed"] else []
    return Report(jobs=sum(counts.values()), seconds=1.0, failures=failures, **counts)


@pytest.mark.parametrize(
    ("end", "counts", "status"),
    [
        ("done", {"succeeded": 2, "failed": 0, "left": 0}, 0),
        ("done", {"succeeded": 1, "failed": 1, "left": 0}, 1),
        ("stopped", {"succeeded": 1, "failed": 1, "left": 1}, 75),
        ("broken", {"succeeded": 1, "failed": 0, "left": 1}, 75),
    ],
)
def test_status_says_how_the_batch_ended_and_the_report_is_json(run, ran, end, counts, status):
    ran.ends = (end, report(**counts))
    code, out, _ = run("batch", "photos", "--results", "m.jsonl")
    assert code == status
    printed = json.loads(out)
    assert {name: printed[name] for name in counts} == counts
    assert ("größer" in out) == bool(counts["failed"])


@pytest.mark.parametrize(
    "error", [StorageUnavailableError("Later."), NoGpuError("No GPU is visible.")]
)
def test_failure_that_another_try_or_machine_may_not_have_leaves_the_batch_open(run, ran, error):
    def fail(*_):
        raise error

    ran.ends = fail
    status, out, err = run("batch", "photos", "--results", "m.jsonl")
    assert (status, out) == (75, "")
    assert json.loads(err)["error"]["code"] == error.code


def test_options_say_what_is_to_be_done(run, ran):
    run(
        *("batch", "photos", "--results", "m.jsonl", "--workflow", "look", "--param", "steps=9"),
        *("--format", "webp", "--prefix", "july", "--shard", "1/4", "--attempts", "5"),
        *("--retry-failed", "--lease", "10"),
    )
    options = ran.options
    assert (options.place, options.results) == ("photos", "m.jsonl")
    assert options.job_input == {
        "workflow": "look",
        "params": {"steps": 9},
        "output": {"format": "webp", "prefix": "july"},
    }
    assert (options.shard, options.attempts) == (Shard(1, 4), 5)
    assert (options.retry_failed, options.lease) == (True, 10.0)


def test_options_that_are_not_given_are_left_out(run, ran):
    run("batch", "events.jsonl", "--results", "m.jsonl")
    assert ran.options.job_input == {}


@pytest.mark.parametrize("options", [("--attempts", "0"), ("--lease", "0"), ("--shard", "4/4")])
def test_option_that_cannot_work_is_refused(run, ran, options):
    status, _, err = run("batch", "photos", "--results", "m.jsonl", *options)
    assert status == 1
    assert options[0] in err or "I/N" in err


def test_batch_without_results_is_wrong_usage(run):
    assert run("batch", "photos")[0] == 2


def test_first_signal_stops_the_batch_and_the_second_has_its_usual_effect(run, ran):
    usual = signal.signal(signal.SIGTERM, lambda *_: usual_effect.set())
    usual_effect = threading.Event()

    def stopped(stop, _):
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(5)
        os.kill(os.getpid(), signal.SIGTERM)
        return "stopped", report(succeeded=0, failed=0, left=1)

    ran.ends = stopped
    try:
        assert run("batch", "photos", "--results", "m.jsonl")[0] == 75
        assert usual_effect.wait(5)
    finally:
        signal.signal(signal.SIGTERM, usual)


def test_terminal_shows_a_bar_with_rate_and_time_left(run, ran, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("COLUMNS", "120")

    def work(_, on_progress):
        on_progress(BatchProgress(10, 4, 0))
        on_progress(BatchProgress(10, 4, 0))
        time.sleep(0.3)
        on_progress(BatchProgress(10, 6, 1))
        return "done", report(succeeded=9, failed=1, left=0)

    ran.ends = work
    run("batch", "photos", "--results", "m.jsonl")
    shown = terminal.getvalue()
    assert "4/10" in shown
    last = shown.replace("\n", "\r").split("\r")[-2]
    assert "6/10 [00:00<00:0" in last
    assert "job/s, failed=1" in last


def test_log_tells_progress_where_there_is_no_terminal(run, ran, monkeypatch):
    monkeypatch.setattr(batch_command, "_LOG_EVERY", 0.0)

    def work(_, on_progress):
        on_progress(BatchProgress(10, 4, 0))
        on_progress(BatchProgress(10, 4, 0))
        time.sleep(0.1)
        on_progress(BatchProgress(10, 6, 1))
        return "done", report(succeeded=9, failed=1, left=0)

    ran.ends = work
    _, _, err = run("batch", "photos", "--results", "m.jsonl")
    last = [json.loads(line) for line in err.splitlines()][-1]
    assert (last["event"], last["jobs"], last["done"], last["failed"]) == (
        "batch progress",
        10,
        6,
        1,
    )
    assert 0 < last["jobs_per_second"] <= 20
    assert last["seconds_left"] >= 0
