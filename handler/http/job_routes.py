"""Invocation: synchronous, and as jobs that are submitted, followed and cancelled."""

from __future__ import annotations

from collections.abc import AsyncIterator  # noqa: TC003 - FastAPI reads it
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response as HttpResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, ConfigDict, Field

from comfyui_runtime.errors import ServiceError
from handler.contract.response import Success
from handler.http.dependencies import FoundJob, ServiceDep, job_path
from handler.http.invocation import (
    answer,
    base_url,
    read_event,
    run_event,
    wait_for_end,
)
from handler.http.openapi import EVENT_BODY, REFUSALS
from handler.http.progress_stream import last_message, progress_stream
from handler.http.refusals import refuse
from handler.http.results import with_whole_urls
from handler.job.jobs import JobState
from handler.job.pool import Job, JobStatus
from handler.machine_paths import without_paths

if TYPE_CHECKING:
    from handler.http.service import Service

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
    given_id: str | None = Field(description="The id as it was given, if one was.")
    status: JobStatus
    links: JobLinks


@router.post("/v1/invoke", responses={200: {"model": Success}}, openapi_extra=EVENT_BODY)
async def invoke(request: Request, service: ServiceDep) -> HttpResponse:
    """Carry an event out and return its response. A client that goes away cancels the job."""
    return answer(request, service, await run_event(request, service))


@router.post("/v1/jobs", status_code=202, response_model=SubmittedJob, openapi_extra=EVENT_BODY)
async def submit(request: Request, service: ServiceDep) -> SubmittedJob | HttpResponse:
    """Submit a job. The same event sent again while it is under way joins it."""
    event, job_id = await read_event(request, service)
    try:
        job = await service.jobs.submit(event, job_id, detached=True)
    except ServiceError as error:
        return refuse(without_paths(error, service.settings), job_id)
    path = job_path(job.job_id)
    links = JobLinks(self=path, events=f"{path}/events", result=f"{path}/result", cancel=path)
    return SubmittedJob(
        job_id=job.job_id, given_id=job.job_id.given, status=job.status, links=links
    )


@router.get("/v1/jobs/{job_id}")
async def status(found: FoundJob, request: Request, service: ServiceDep) -> JobState:
    """Return where a job stands; ended jobs are remembered for a while."""
    return _state(found, request, service)


@router.get(
    "/v1/jobs/{job_id}/result", responses={200: {"model": Success}, 202: {"model": JobState}}
)
async def result(
    found: FoundJob,
    request: Request,
    service: ServiceDep,
    wait: Annotated[float, Query(ge=0, le=300, description="Seconds to wait for the end.")] = 0,
) -> HttpResponse:
    """Return an ended job's response, as a synchronous call would; 202 while it is under way."""
    if isinstance(found, Job):
        with suppress(TimeoutError):
            return answer(request, service, await wait_for_end(request, service, found, wait))
    state = _state(found, request, service)
    if state.response is not None:
        return answer(request, service, state.response)
    return HttpResponse(
        state.model_dump_json(),
        status_code=202,
        headers={"Retry-After": "1"},
        media_type="application/json",
    )


@router.delete("/v1/jobs/{job_id}", status_code=202)
async def cancel(found: FoundJob, request: Request, service: ServiceDep) -> JobState:
    """Cancel a job, wherever it is. One that has ended stays as it is."""
    if isinstance(found, Job):
        found.cancel()
    return _state(found, request, service)


@router.get("/v1/jobs/{job_id}/events", response_class=EventSourceResponse)
async def follow(
    found: FoundJob, request: Request, service: ServiceDep
) -> AsyncIterator[ServerSentEvent]:
    """Stream a job's progress, at most ten times a second, and its response as `done`.

    The data of `progress` are those of a job's state, with `preview`, a small JPEG as a data URI,
    where the workflow's sampler makes one.
    """
    url = base_url(request, service)
    if isinstance(found, Job):
        async for message in progress_stream(found, url):
            yield message
    elif found.response is not None:
        yield last_message(found.response, url)


def _state(found: Job | JobState, request: Request, service: Service) -> JobState:
    state = JobState.of(found) if isinstance(found, Job) else found
    if state.response is None:
        return state
    whole = with_whole_urls(state.response, base_url(request, service))
    return state.model_copy(update={"response": whole})
