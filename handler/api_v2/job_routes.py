"""Jobs: submission, state, cancellation, events, logs, and the list of all."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from handler.api_v2.asset_routes import IdempotencyKey  # noqa: TC001 - FastAPI reads it
from handler.api_v2.events import event_stream
from handler.api_v2.idempotency import claimed
from handler.api_v2.ids import is_job_id
from handler.api_v2.requests import read_body
from handler.api_v2.state import ApiDep, ApiV2
from handler.api_v2.submission import SubmissionBody, checked_labels
from handler.api_v2.submit import submit
from handler.api_v2.views import Views, timestamp
from handler.contract.errors import CursorError, MetadataError, MetadataFilterError

if TYPE_CHECKING:
    from handler.api_v2.records import KnownJob

router = APIRouter()

# Clients ask again after half a second at the earliest: a short job has ended by then.
_HOLD_SECONDS = 0.4
_LOOK_AGAIN_SECONDS = 0.2
_MOST_LISTED = 100
_FILTER = re.compile(r"metadata\[(.*)\]", re.DOTALL)
_NO_STORE = {"Cache-Control": "no-store"}


@router.post("/jobs")
async def post_job(request: Request, api: ApiDep, key: IdempotencyKey = None) -> Response:
    """Submit a workflow."""
    body = await read_body(request, api, SubmissionBody)
    async with claimed(api, key):
        live = await submit(api, body)
    return JSONResponse(
        Views(api, request).job(live.known(_position(api, live.submission.id))), 201
    )


@router.get("/jobs")
async def list_jobs(
    request: Request,
    api: ApiDep,
    limit: Annotated[int, Query(ge=1)] = 50,
    cursor: str | None = None,
) -> Response:
    """Return a page of jobs, the newest first."""
    if cursor is not None and not is_job_id(cursor):
        raise CursorError("The cursor is none that this server gave out.")
    labels = _filter(request)
    views = Views(api, request)
    wanted = min(limit, _MOST_LISTED)
    page, more = await asyncio.to_thread(_page, api, labels, wanted, cursor)
    body: dict[str, Any] = {"jobs": [views.summary(job) for job in page]}
    if more:
        body["next_cursor"] = page[-1].id
    return JSONResponse(body, headers=_NO_STORE)


@router.get("/jobs/{job_id}")
async def get_job(job_id: str, request: Request, api: ApiDep) -> Response:
    """Return a job; one that has not ended, a moment later if it does not end before."""
    job = await asyncio.to_thread(api.history.find, job_id)
    if not job.ended:
        job = await _held(api, job)
    return JSONResponse(Views(api, request).job(job), headers=_NO_STORE)


@router.get("/jobs/{job_id}/workflow")
async def workflow(job_id: str, api: ApiDep) -> Response:
    """Return what was submitted."""
    job = await asyncio.to_thread(api.history.find, job_id)
    return JSONResponse({"workflow": job.submission.workflow, "format": "api"})


@router.post("/jobs/{job_id}/cancel")
async def cancel(job_id: str, request: Request, api: ApiDep) -> Response:
    """Ask for a job's end, wherever it is."""
    job = await asyncio.to_thread(api.history.cancel, job_id)
    return JSONResponse(Views(api, request).job(job))


@router.get("/jobs/{job_id}/logs")
async def logs(job_id: str, api: ApiDep) -> Response:
    """Return the last lines of a job's log."""
    job = await asyncio.to_thread(api.history.find, job_id)
    lines = [
        {"timestamp": timestamp(line.at), "level": line.level, "message": line.message}
        for line in job.log.lines
    ]
    return JSONResponse({"logs": lines, "dropped": job.log.dropped}, headers=_NO_STORE)


@router.get("/jobs/{job_id}/events")
async def events(
    job_id: str,
    request: Request,
    api: ApiDep,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Stream what becomes of a job, from where it stands to its end."""
    first = await asyncio.to_thread(api.history.find, job_id)
    return StreamingResponse(
        event_stream(api, first, Views(api, request), last_event_id),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


async def _held(api: ApiV2, job: KnownJob) -> KnownJob:
    live = api.history.live(job.id)
    if live is not None:
        await live.wait_for_end(_HOLD_SECONDS)
        return await asyncio.to_thread(api.history.find, job.id)
    ends_at = time.monotonic() + _HOLD_SECONDS
    while not job.ended and time.monotonic() < ends_at:
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        job = await asyncio.to_thread(api.history.find, job.id)
    return job


def _position(api: ApiV2, job_id: str) -> int | None:
    return api.history.find(job_id).queue_position


def _filter(request: Request) -> dict[str, str]:
    labels: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        match = _FILTER.fullmatch(name)
        if match is None:
            continue
        if match[1] in labels:
            raise MetadataFilterError(f"The filter metadata[{match[1][:100]}] is there twice.")
        labels[match[1]] = value
    try:
        return checked_labels(labels)
    except MetadataError as error:
        raise MetadataFilterError(error.message) from error


def _page(
    api: ApiV2, labels: dict[str, str], limit: int, cursor: str | None
) -> tuple[list[KnownJob], bool]:
    page: list[KnownJob] = []
    for job in api.history.jobs(cursor):
        if labels.items() <= job.submission.metadata.items():
            if len(page) == limit:
                return page, True
            page.append(job)
    return page, False
