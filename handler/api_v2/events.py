"""What becomes of a job, as server-sent events.

Every stream is made of what is known of the job at each moment, wherever the job is: any number of
them may be open, and one that is broken off is taken up with a new one. An event's id says which
outputs and lines of the log have been sent, and a client that sends the last one it saw
(``Last-Event-ID``) does not get them again.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from io import BytesIO
from typing import TYPE_CHECKING, Any

from comfyui_runtime.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from PIL.Image import Image

    from handler.api_v2.records import KnownJob
    from handler.api_v2.state import ApiV2
    from handler.api_v2.views import Views

_INTERVAL = 0.25
_INTERVAL_ELSEWHERE = 0.5
_COMMENT_SECONDS = 15.0
_PREVIEW_SECONDS = 0.5
_PREVIEW_PIXELS = 512
_COMMENT = b": still here\n\n"
_EVENT_ID = re.compile(r"(\d{1,6})-(\d{1,9})")


async def event_stream(
    api: ApiV2, job: KnownJob, views: Views, last_event_id: str | None
) -> AsyncIterator[bytes]:
    """Yield a job's events, from its present state to its end.

    Args:
        job: What is known of it.
        last_event_id: Of the last event that the client has seen, of an earlier stream.
    """
    stream = _Stream(views, last_event_id)
    sent_at = time.monotonic()
    while True:
        for event in stream.events(job):
            yield event
            sent_at = time.monotonic()
        if not job.ended:
            picture = await stream.preview(job)
            if picture is not None:
                yield picture
                sent_at = time.monotonic()
        if job.ended:
            yield stream.last(job)
            return
        if time.monotonic() - sent_at >= _COMMENT_SECONDS:
            yield _COMMENT
            sent_at = time.monotonic()
        live = api.history.live(job.id)
        if live is None:
            await asyncio.sleep(_INTERVAL_ELSEWHERE)
        else:
            await live.wait_for_end(_INTERVAL)
        try:
            job = await asyncio.to_thread(api.history.find, job.id)
        except ServiceError:
            return  # the client polls, and is told there what is wrong


class _Stream:
    """What one client has been sent."""

    def __init__(self, views: Views, last_event_id: str | None) -> None:
        self._views = views
        match = _EVENT_ID.fullmatch(last_event_id or "")
        self._outputs, self._lines = (int(match[1]), int(match[2])) if match else (0, 0)
        self._status: dict[str, Any] | None = None
        self._progress: dict[str, Any] | None = None
        self._preview: Image | None = None
        self._preview_at = 0.0

    def events(self, job: KnownJob) -> Iterator[bytes]:
        """Yield what is new of a job, but for its last status."""
        if not job.ended:
            status = _status(job)
            if status != self._status:
                self._status = status
                yield self._event("status", status)
        progress = job.progress.model_dump() if job.progress else None
        if progress is not None and progress != self._progress:
            self._progress = progress
            yield self._event("progress", progress)
        first = job.log.dropped
        for line in job.log.lines[max(0, self._lines - first) :]:
            self._lines = max(self._lines, first) + 1
            yield self._event("log", {"level": line.level, "message": line.message})
        for output in job.outputs:
            if output.place >= self._outputs:
                self._outputs = output.place + 1
                yield self._event("output", self._views.output(job.id, output))

    async def preview(self, job: KnownJob) -> bytes | None:
        """Return the newest picture of a job's sampler, if it is time for one."""
        now = time.monotonic()
        if job.preview is None or now - self._preview_at < _PREVIEW_SECONDS:
            return None
        node_id, picture = job.preview
        if picture is self._preview:
            return None
        self._preview, self._preview_at = picture, now
        data = {
            "node_id": node_id,
            "content_type": "image/jpeg",
            "data_base64": await asyncio.to_thread(_jpeg, picture),
        }
        return self._event("preview", data)

    def last(self, job: KnownJob) -> bytes:
        """Return the event that says how a job ended."""
        return self._event("status", _status(job))

    def _event(self, name: str, data: dict[str, Any]) -> bytes:
        text = json.dumps(data, ensure_ascii=False)
        return f"event: {name}\nid: {self._outputs}-{self._lines}\ndata: {text}\n\n".encode()


def _status(job: KnownJob) -> dict[str, Any]:
    return {"status": job.status, "queue_position": job.queue_position}


def _jpeg(picture: Image) -> str:
    small = picture.convert("RGB")
    small.thumbnail((_PREVIEW_PIXELS, _PREVIEW_PIXELS))
    file = BytesIO()
    small.save(file, "JPEG", quality=70)
    return base64.b64encode(file.getvalue()).decode()
