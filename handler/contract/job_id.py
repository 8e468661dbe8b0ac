"""A job's id: one type, of one character set, made once, at the door.

Log records, addresses, result keys and responses all name a job by it.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from typing import Self

MOST_OF_A_GIVEN_ID = 200

_SAFE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_READABLE = 40


class JobId(str):
    """Up to 200 letters, digits and ``_ - .``, the first one no dot.

    A name of a file, a segment of an address and of an object's key as it stands.

    Attributes:
        given: The id as the event or the platform gave it, its first 200 characters; ``None``
            where neither gave one.
    """

    __slots__ = ("given",)

    given: str | None

    def __new__(cls, text: str, given: str | None = None) -> Self:
        """Take a text that is one already; callers use :meth:`of` and :meth:`new`."""
        if not _SAFE.fullmatch(text):
            message = f"not a job id: {text[:MOST_OF_A_GIVEN_ID]!r}"
            raise ValueError(message)
        job_id = super().__new__(cls, text)
        job_id.given = given
        return job_id

    @classmethod
    def of(cls, given: str) -> Self:
        """Return the id that stands for a given one.

        One that fits stands for itself. Any other is written as what can be read of it and its
        SHA-256, so that two of them never share an id; the result stands for itself as well.

        Args:
            given: Any text but an empty one.
        """
        shown = given[:MOST_OF_A_GIVEN_ID]
        if _SAFE.fullmatch(given):
            return cls(given, shown)
        readable = _UNSAFE.sub("_", given[:_READABLE]).strip("_") or "id"
        digest = hashlib.sha256(given.encode("utf-8", "surrogatepass")).hexdigest()
        return cls(f"{readable}.{digest}", shown)

    @classmethod
    def new(cls) -> Self:
        """Return an id that no other job has."""
        return cls(uuid.uuid4().hex)


def job_id_of(event: object, platform_id: str | None = None) -> JobId:
    """Return an event's id, even where the event is not valid; a new one where none is given.

    To be called once for each event: what travels on carries the id.

    Args:
        event: Decoded JSON.
        platform_id: The id under which the platform knows the invocation; the event's own wins.
    """
    match event:
        case {"id": str() as given} if given:
            return JobId.of(given)
        case _:
            return JobId.of(platform_id) if platform_id else JobId.new()
