"""A job's progress as server-sent events."""

from __future__ import annotations

import asyncio
import base64
import json
from io import BytesIO
from typing import TYPE_CHECKING

from fastapi.sse import ServerSentEvent

from handler.http.results import with_whole_urls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from PIL.Image import Image

    from handler.contract.progress import JobProgress
    from handler.contract.response import Response
    from handler.job.pool import Job

_INTERVAL = 0.1
_PREVIEW_PIXELS = 512


async def progress_stream(job: Job, base_url: str) -> AsyncIterator[ServerSentEvent]:
    """Yield the newest progress, at most ten times a second, and the response at the end."""
    ended = asyncio.wrap_future(job.future)
    sent: JobProgress | None = None
    while not ended.done():
        progress = job.progress
        if progress is not None and progress is not sent:
            yield ServerSentEvent(event="progress", raw_data=await _progress_json(progress))
            sent = progress
        await asyncio.wait({ended}, timeout=_INTERVAL)
    yield last_message(ended.result(), base_url)


def last_message(response: Response, base_url: str) -> ServerSentEvent:
    """Return the stream's end: the response."""
    whole = with_whole_urls(response, base_url)
    return ServerSentEvent(event="done", raw_data=whole.model_dump_json(by_alias=True))


async def _progress_json(progress: JobProgress) -> str:
    data = progress.to_json()
    if progress.preview is not None:
        data["preview"] = await asyncio.to_thread(_data_uri, progress.preview)
    return json.dumps(data, ensure_ascii=False)


def _data_uri(preview: Image) -> str:
    small = preview.convert("RGB")
    small.thumbnail((_PREVIEW_PIXELS, _PREVIEW_PIXELS))
    file = BytesIO()
    small.save(file, "JPEG", quality=70)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
