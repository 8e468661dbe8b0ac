"""Invocation: synchronous, and as jobs that are submitted, followed and cancelled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response as HttpResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, ConfigDict

from handler.errors import UnknownJobError
from handler.job_pool import JobStatus
from handler.platforms.http.dependencies import JobId, ServiceDep, job_path
from handler.platforms.http.events import done_event, job_events
from handler.platforms.http.invocation import (
    answer,
    base_url,
    read_event,
    run_event,
    wait_for_end,
)
from handler.platforms.http.jobs import JobState
from handler.platforms.http.openapi import EVENT_BODY, REFUSALS
from handler.platforms.http.results import with_whole_urls
from handler.response import Success

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from handler.platforms.http.service import Service

router = APIRouter(tags=["jobs"], responses=REFUSALS)


class JobLinks(BaseModel):
    """Paths of a job."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    self: str
    events: str
    result: str
    cancel: str


class SubmittedJob(BaseModel):
    """A job that was taken."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    status: JobStatus
    links: JobLinks


@router.post("/v1/invoke", responses={200: {"model": Success}}, openapi_extra=EVENT_BODY)
async def invoke(request: Request, service: ServiceDep) -> HttpResponse:
    """Carry an event out and return its response. A client that goes away cancels the job."""
    event = await read_event(request, service)
    return answer(request, service, await run_event(request, service, event))


@router.post("/v1/jobs", status_code=202, openapi_extra=EVENT_BODY)
async def submit(request: Request, service: ServiceDep) -> SubmittedJob:
    """Submit a job. The same event sent again while it is under way joins it."""
    job = await service.submit(await read_event(request, service), detached=True)
    path = job_path(job.job_id)
    links = JobLinks(self=path, events=f"{path}/events", result=f"{path}/result", cancel=path)
    return SubmittedJob(job_id=job.job_id, status=job.status, links=links)


@router.get("/v1/jobs/{job_id}")
async def status(job_id: JobId, request: Request, service: ServiceDep) -> JobState:
    """Return where a job stands; ended jobs are remembered for a while."""
    return _state(job_id, request, service)


@router.get(
    "/v1/jobs/{job_id}/result", responses={200: {"model": Success}, 202: {"model": JobState}}
)
async def result(
    job_id: JobId,
    request: Request,
    service: ServiceDep,
    wait: Annotated[float, Query(ge=0, le=300, description="Seconds to wait for the end.")] = 0,
) -> HttpResponse:
    """Return an ended job's response, as a synchronous call would; 202 while it is under way."""
    job = service.jobs.live(job_id)
    if job is not None:
        try:
            response = await wait_for_end(request, service, job, within=wait)
        except TimeoutError:
            state = JobState.of(job)
            return HttpResponse(
                state.model_dump_json(by_alias=True),
                status_code=202,
                headers={"Retry-After": "1"},
                media_type="application/json",
            )
        return answer(request, service, response)
    ended = _state(job_id, request, service).response
    if ended is None:
        raise _unknown(job_id)
    return answer(request, service, ended)


@router.delete("/v1/jobs/{job_id}", status_code=202)
async def cancel(job_id: JobId, request: Request, service: ServiceDep) -> JobState:
    """Cancel a job, wherever it is. One that has ended stays as it is."""
    job = service.jobs.live(job_id)
    if job is not None:
        job.cancel()
    return _state(job_id, request, service)


def _known_state(job_id: JobId, request: Request, service: ServiceDep) -> JobState:
    return _state(job_id, request, service)


@router.get("/v1/jobs/{job_id}/events", response_class=EventSourceResponse)
async def events(
    job_id: JobId,
    request: Request,
    service: ServiceDep,
    state: Annotated[JobState, Depends(_known_state)],
) -> AsyncIterator[ServerSentEvent]:
    """Stream `progress` events, at most ten a second, and the response as the last one, `done`.

    The data of `progress` are those of a job's state, with `preview`, a small JPEG as a data URI,
    where the workflow's sampler makes one.
    """
    url = base_url(request, service)
    job = service.jobs.live(job_id)
    if job is not None:
        async for event in job_events(job, url):
            yield event
    elif state.response is not None:
        yield done_event(state.response, url)


def _state(job_id: str, request: Request, service: Service) -> JobState:
    state = service.jobs.state(job_id)
    if state is None:
        raise _unknown(job_id)
    if state.response is None:
        return state
    whole = with_whole_urls(state.response, base_url(request, service))
    return state.model_copy(update={"response": whole})


def _unknown(job_id: str) -> UnknownJobError:
    return UnknownJobError(
        "There is no job with this id under way, and none is remembered: jobs that have ended are "
        "forgotten after a while (JOBS_KEPT, JOBS_KEPT_SECONDS).",
        job_id=job_id,
    )
