"""Structured logs: one JSON line per record in production, readable on a terminal."""

from __future__ import annotations

import contextlib
import contextvars
import json
import logging
import sys
import time
from typing import TYPE_CHECKING, Any

from comfyui_runtime.errors import shortened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from handler.settings import Settings

# Characters. What a node raises or a library logs may have millions.
_LONGEST_EVENT = 16_000
_LONGEST_TRACEBACK = 32_000

_job_id: contextvars.ContextVar[str | None] = contextvars.ContextVar("job_id", default=None)
# What no record of the job may show, whoever logs it.
_secret: contextvars.ContextVar[str | None] = contextvars.ContextVar("secret", default=None)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure_logging(settings: Settings) -> None:
    """Send every record of this process to standard error in the chosen format.

    ``auto`` is text where standard error is a terminal, else JSON.
    """
    as_text = settings.log_format == "text" or (
        settings.log_format == "auto" and sys.stderr.isatty()
    )
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(TextFormatter() if as_text else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [stream]
    root.setLevel(settings.comfy_log_level or settings.log_level)
    if settings.comfy_log_level is not None:
        # ComfyUI logs to the root itself.
        for name in ("handler", "comfyui_runtime"):
            logging.getLogger(name).setLevel(settings.log_level)
    # These tell of every request, with signed URLs and headers in the text.
    for name in ("botocore", "boto3", "s3transfer", "urllib3", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)


@contextlib.contextmanager
def job_context(job_id: str, secret: str | None = None) -> Iterator[None]:
    """Put a job's id on every record logged inside, on the threads that work for it too.

    Args:
        secret: Taken out of all of those records.
    """
    token, secret_token = _job_id.set(job_id), _secret.set(secret)
    try:
        yield
    finally:
        _job_id.reset(token)
        _secret.reset(secret_token)


def job_message(record: logging.LogRecord) -> tuple[str, str] | None:
    """Return the job that a record is about, and what it says; ``None`` where it is about none.

    To be called where the record is made: on the job's thread.
    """
    job_id = _job_id.get()
    if job_id is None:
        return None
    return job_id, _without_secret(shortened(record.getMessage(), _LONGEST_EVENT))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, event, job_id, and the record's extras.

    An extra never takes the place of one of these.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        entry: dict[str, Any] = {
            "time": _utc(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": shortened(record.getMessage(), _LONGEST_EVENT),
            "job_id": _job_id.get(),
        }
        entry = {**entry, **_extras(record), **entry}
        if record.exc_info:
            entry["exception"] = _traceback(self, record)
        return _without_secret(json.dumps(entry, ensure_ascii=False, default=str))


class TextFormatter(logging.Formatter):
    """Time, level, event and the record's extras, for people."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, with a traceback below it where there is one."""
        extras = {"job_id": _job_id.get(), **_extras(record)}
        data = " ".join(f"{key}={value}" for key, value in extras.items() if value is not None)
        event = shortened(record.getMessage(), _LONGEST_EVENT)
        line = f"{_utc(record)[11:]} {record.levelname:<7} {event} {data}".rstrip()
        whole = f"{line}\n{_traceback(self, record)}" if record.exc_info else line
        return _without_secret(whole)


def _without_secret(text: str) -> str:
    secret = _secret.get()
    return text.replace(secret, "…") if secret else text


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    text = formatter.formatException(record.exc_info) if record.exc_info else ""
    return shortened(text, _LONGEST_TRACEBACK)


def _utc(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {key: _bounded(value) for key, value in vars(record).items() if key not in _STANDARD}


def _bounded(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    short = shortened(text, _LONGEST_EVENT)
    return value if short is text else short
