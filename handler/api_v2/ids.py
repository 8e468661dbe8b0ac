"""Ids of jobs, which sort by time, and of their outputs, which follow from them.

A job's id is a UUID of version 7 (RFC 9562) whose last twelve bits are zero. An output's is the
same with version 8 and the output's place in those bits: no record is needed to find its job.
"""

from __future__ import annotations

import re
import secrets
import time

from handler.contract.job_id import JobId

_JOB = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{9}000")
_OUTPUT = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_VERSION_AT = 14
_PLACE_DIGITS = 3
_DIGITS = "0123456789abcdef"
_FLIPPED = str.maketrans(_DIGITS, _DIGITS[::-1])
_NANOSECONDS = 1_000_000
_PARTS = 4096

MOST_OUTPUTS = 16**_PLACE_DIGITS


def new_job_id() -> JobId:
    """Return an id that no other job has, greater than those of jobs that came before."""
    milliseconds, rest = divmod(time.time_ns(), _NANOSECONDS)
    part = rest * _PARTS // _NANOSECONDS
    number = secrets.randbits(50) << 12
    high, low = divmod(number, 1 << 48)
    time_digits = f"{milliseconds:012x}"
    return JobId(f"{time_digits[:8]}-{time_digits[8:]}-7{part:03x}-{0x8000 | high:04x}-{low:012x}")


def is_job_id(text: str) -> bool:
    """Say whether a text is an id of :func:`new_job_id`."""
    return _JOB.fullmatch(text) is not None


def created_at(job_id: str) -> float:
    """Return when a job was made, in seconds since the epoch."""
    return int(job_id[:8] + job_id[9:13], 16) / 1000


def flipped(job_id: str) -> str:
    """Return a text that sorts the other way round: the newest job first. Its own inverse."""
    return job_id.translate(_FLIPPED)


def output_id(job_id: str, place: int) -> str:
    """Return the asset id of a job's output.

    Args:
        place: From 0.
    """
    text = f"{job_id[:-_PLACE_DIGITS]}{place:0{_PLACE_DIGITS}x}"
    return f"{text[:_VERSION_AT]}8{text[_VERSION_AT + 1 :]}"


def read_output_id(asset_id: str) -> tuple[str, int] | None:
    """Return the job and the place of an output; ``None`` for another asset's id."""
    if not _OUTPUT.fullmatch(asset_id):
        return None
    job_id = f"{asset_id[:_VERSION_AT]}7{asset_id[_VERSION_AT + 1 : -_PLACE_DIGITS]}000"
    return job_id, int(asset_id[-_PLACE_DIGITS:], 16)
