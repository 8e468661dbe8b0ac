from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import sys
import threading
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from comfyui_runtime.in_process.device_thread import DeviceThread
from handler.log import JsonFormatter, TextFormatter, configure_logging, job_context
from handler.settings import Settings, load_settings

CHATTY = ("botocore", "boto3", "s3transfer", "urllib3", "httpcore")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _logging_as_it_was():
    loggers = [logging.getLogger(), *map(logging.getLogger, CHATTY)]
    kept = [(logger, list(logger.handlers), logger.level) for logger in loggers]
    yield
    logging.captureWarnings(capture=False)
    for logger, handlers, level in kept:
        logger.handlers[:] = handlers
        logger.setLevel(level)


@pytest.fixture
def configure(monkeypatch):
    """Set logging up with standard error replaced, which is returned."""

    def set_up(stream=None, **fields) -> io.StringIO:
        stream = stream or io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        configure_logging(Settings(_env_file=None, **fields))
        return stream

    return set_up


@pytest.fixture
def json_log(configure):
    """Set logging up for JSON and return what reads the records back."""
    stream = configure(log_format="json")
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


log = logging.getLogger("handler.test")


def fail_and_log():
    try:
        int("no number")
    except ValueError:
        log.exception("job failed")


def test_record_is_one_json_line_with_job_id_and_extras(json_log):
    before = datetime.now(UTC)
    with job_context("job-1"):
        log.warning("job %s\nfailed", "really", extra={"code": "cancelled", "seconds": {"run": 1}})
    (entry,) = json_log()
    time = datetime.fromisoformat(entry.pop("time"))
    assert entry == {
        "level": "warning",
        "logger": "handler.test",
        "event": "job really\nfailed",
        "job_id": "job-1",
        "code": "cancelled",
        "seconds": {"run": 1},
    }
    assert abs(time - before) < timedelta(seconds=5)


def test_line_break_in_a_record_does_not_end_its_line(configure):
    stream = configure(log_format="json")
    log.info("one\r\ntwo", extra={"more": "three\nfour"})
    log.info("five")
    first, second = stream.getvalue().rstrip("\n").split("\n")
    assert json.loads(first)["event"] == "one\r\ntwo"
    assert json.loads(second)["event"] == "five"


def test_exception_is_in_the_record(json_log):
    fail_and_log()
    (entry,) = json_log()
    assert entry["level"] == "error"
    assert entry["exception"].startswith("Traceback")
    assert "ValueError: invalid literal" in entry["exception"]


def test_extra_that_is_no_json_is_written_as_text(json_log):
    log.info("booted", extra={"folder": Path("/models"), "kinds": {"a"}})
    (entry,) = json_log()
    assert entry["folder"] == "/models"
    assert entry["kinds"] == "{'a'}"


def test_extra_cannot_take_the_place_of_a_records_own_fields(json_log):
    with job_context("job-1"):
        log.info("booted", extra={"event": "x", "level": "x", "job_id": "x", "time": "x"})
    (entry,) = json_log()
    assert (entry["event"], entry["level"], entry["job_id"]) == ("booted", "info", "job-1")
    datetime.fromisoformat(entry["time"])


def test_record_outside_a_job_has_no_job_id(json_log):
    log.info("booted")
    assert json_log()[0]["job_id"] is None


def test_job_contexts_nest_and_end_whatever_happens(json_log):
    with job_context("outer"):
        with contextlib.suppress(ValueError), job_context("inner"):
            log.info("in the inner")
            raise ValueError
        log.info("in the outer")
    log.info("outside")
    assert [entry["job_id"] for entry in json_log()] == ["inner", "outer", None]


def test_jobs_on_several_threads_keep_their_own_ids(json_log):
    barrier = threading.Barrier(4)

    def work(number):
        with job_context(f"job-{number}"):
            barrier.wait(5)
            log.info("working", extra={"number": number})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert {(e["job_id"], e["number"]) for e in json_log()} == {(f"job-{n}", n) for n in range(4)}


def test_record_of_the_devices_thread_has_the_id_of_the_job_it_works_for(json_log):
    device = DeviceThread(lambda: None)
    with job_context("job-1"):
        device.submit(lambda: log.info("on the device")).result(5)
    device.stop(5)
    assert json_log()[0]["job_id"] == "job-1"


def test_text_is_one_line_with_the_extras_that_have_a_value(configure):
    stream = configure(log_format="text")
    with job_context("job-1"):
        log.warning("job failed", extra={"code": "cancelled", "node": None})
    log.info("idle")
    failed, idle = stream.getvalue().splitlines()
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3}Z WARNING job failed job_id=job-1 code=cancelled", failed
    )
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}Z INFO    idle", idle)


def test_text_has_the_traceback_below_the_line(configure):
    stream = configure(log_format="text")
    fail_and_log()
    first, *_, last = stream.getvalue().splitlines()
    assert first.endswith("ERROR   job failed")
    assert last.startswith("ValueError: invalid literal")


@pytest.mark.parametrize(
    ("log_format", "stream", "formatter"),
    [
        ("auto", io.StringIO, JsonFormatter),
        ("auto", Terminal, TextFormatter),
        ("json", Terminal, JsonFormatter),
        ("text", io.StringIO, TextFormatter),
    ],
)
def test_format_follows_the_setting_and_the_terminal(configure, log_format, stream, formatter):
    configure(stream(), log_format=log_format)
    (handler,) = logging.getLogger().handlers
    assert type(handler.formatter) is formatter


def test_level_follows_the_setting(configure):
    stream = configure(log_level="ERROR")
    log.warning("hidden")
    log.error("shown")
    assert "hidden" not in stream.getvalue()
    assert "shown" in stream.getvalue()


def test_logging_set_up_twice_writes_each_record_once(configure):
    configure()
    stream = configure()
    log.info("once")
    assert len(stream.getvalue().splitlines()) == 1


@pytest.mark.parametrize("name", CHATTY)
def test_libraries_that_log_signed_addresses_are_quiet_at_any_level(configure, name):
    stream = configure(log_level="DEBUG")
    logging.getLogger(f"{name}.endpoint").debug("https://bucket/key?X-Amz-Signature=abc")
    assert stream.getvalue() == ""


def test_warnings_are_records_too(json_log):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", stacklevel=1)
    (entry,) = json_log()
    assert entry["level"] == "warning"
    assert "old" in entry["event"]


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_record_is_bounded_with_its_beginning_and_end(configure, log_format):
    stream = configure(log_format=log_format)
    long = "begins" + 5_000_000 * "x" + "ends"
    log.info(long, extra={"text": long, "items": [long, "second"]})
    log.error("failed", exc_info=ValueError(long))
    written = stream.getvalue()
    assert len(written) < 150_000
    assert written.count("begins") == 4
    assert written.count("ends") >= 3
    assert "characters" in written


def test_records_of_comfyui_have_a_level_of_their_own_where_one_is_set():
    loggers = [logging.getLogger(name) for name in ("", "handler", "comfyui_runtime")]
    levels = [logger.level for logger in loggers]
    handlers = list(loggers[0].handlers)
    try:
        configure_logging(load_settings(comfy_log_level="error", log_level="INFO"))
        assert [logger.level for logger in loggers] == [logging.ERROR, logging.INFO, logging.INFO]
        configure_logging(load_settings(log_level="WARNING"))
        assert loggers[0].level == logging.WARNING
    finally:
        loggers[0].handlers[:] = handlers
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        logging.captureWarnings(capture=False)
