"""Idempotency keys: of all requests with one key, one is carried out."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from comfyui_runtime.errors import ServiceError
from handler.contract.errors import IdempotencyKeyReuseError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from handler.api_v2.state import ApiV2


@contextlib.asynccontextmanager
async def claimed(api: ApiV2, key: str | None) -> AsyncIterator[None]:
    """Carry a request out inside, unless an earlier one had its key; give the key back if it fails.

    Where the request's outcome is not known, the key stays taken.

    Raises:
        IdempotencyKeyReuseError: An earlier request had the key, within a day.
        StorageError: Keys cannot be kept.
    """
    if key is None:
        yield
        return
    if not await asyncio.to_thread(api.jobs_shelf.claim, key):
        raise IdempotencyKeyReuseError(
            "An earlier request had this Idempotency-Key. List the jobs to find what it made, or "
            "send a new key."
        )
    try:
        yield
    except ServiceError:
        await asyncio.to_thread(api.jobs_shelf.release, key)
        raise
