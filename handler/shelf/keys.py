"""The key under which a result is stored."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from handler.contract.job_id import JobId

_RESULT_NAME = re.compile(r"[0-9]+\.[A-Za-z0-9]+")


def result_key(job_id: JobId, index: int, extension: str, prefix: str) -> str:
    """Return the key of a job's result.

    The same job gets the same key again, so that a repeated job replaces its own result; two
    different jobs, or two results of one job, never share a key, and no key is a folder of
    another: only a key's last segment looks like a result's name, for the dot of such a segment
    before it is percent-encoded. Under the prefix there are always two segments: the job, and the
    result's number.

    Args:
        job_id: A segment of a path as it stands.
        index: The result's place among the job's results, from 0.
        extension: Letters and digits, without the dot.
        prefix: The event's ``output.prefix``; may be empty.

    Raises:
        ValueError: The extension would change the key's depth.
    """
    if not (extension.isascii() and extension.isalnum()):
        message = f"a file extension is letters and digits, not {extension!r}"
        raise ValueError(message)
    folders = [*(prefix.split("/") if prefix else []), job_id]
    return "/".join([*map(_as_folder, folders), f"{index}.{extension}"])


def _as_folder(segment: str) -> str:
    return segment.replace(".", "%2E") if _RESULT_NAME.fullmatch(segment) else segment
