"""The key under which a result is stored."""

from __future__ import annotations

import hashlib
from urllib.parse import quote

# A file name may have 255 bytes on the usual file systems.
_LONGEST_SEGMENT = 200


def result_key(job_id: str, index: int, extension: str, prefix: str) -> str:
    """Return the key of a job's result.

    The same job gets the same key again, so that a repeated job replaces its own result; two
    different jobs, or two results of one job, never share a key. Under the prefix there are
    always two segments: the job, and the result's number.

    Args:
        job_id: Any text.
        index: The result's place among the job's results, from 0.
        extension: Letters and digits, without the dot.
        prefix: The event's ``output.prefix``; may be empty.

    Raises:
        ValueError: The extension would change the key's depth.
    """
    if not (extension.isascii() and extension.isalnum()):
        message = f"a file extension is letters and digits, not {extension!r}"
        raise ValueError(message)
    segments = [_segment(job_id), f"{index}.{extension}"]
    return "/".join([prefix, *segments] if prefix else segments)


def _segment(job_id: str) -> str:
    """Write a job id as one path segment, one to one.

    Letters, digits and ``_ - .`` stay; the rest is percent-encoded, and so is a leading dot:
    "." and ".." have a meaning in paths, and other names with one are hidden. Long ids
    are replaced by their SHA-256 behind a tilde, which no other segment contains.
    """
    raw = job_id.encode("utf-8", "surrogatepass")
    encoded = quote(raw, safe="").replace("~", "%7E")
    if encoded.startswith("."):
        encoded = "%2E" + encoded[1:]
    if 0 < len(encoded) <= _LONGEST_SEGMENT:
        return encoded
    return "~" + hashlib.sha256(raw).hexdigest()
