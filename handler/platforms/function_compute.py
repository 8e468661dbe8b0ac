"""Alibaba Cloud Function Compute: a custom container's event handler and lifecycle hooks.

Source, read in November 2026: "Event handlers" and "Lifecycle hooks for function instances" of
custom container runtimes: POST /invoke with the event as octets, answered 200 or 404 and the same
in ``x-fc-status``; POST /initialize and GET /pre-stop.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response as HttpResponse

from comfyui_runtime.errors import ServiceError
from handler.contract.job_id import JobId
from handler.http.dependencies import ServiceDep
from handler.http.invocation import answer, platform_id, run_event
from handler.http.openapi import REFUSALS
from handler.http.refusals import refuse
from handler.machine_paths import without_paths

router = APIRouter(tags=["platforms"], include_in_schema=False, responses=REFUSALS)


@router.post("/invoke")
async def function_compute_invoke(request: Request, service: ServiceDep) -> HttpResponse:
    """Function Compute: carry out an event."""
    try:
        response = answer(request, service, await run_event(request, service))
    except ServiceError as error:
        told = without_paths(error, service.settings)
        given = platform_id(request)
        response = refuse(told, JobId.of(given) if given else None)
    response.status_code = 200 if response.status_code == 200 else 404  # noqa: PLR2004
    response.headers["x-fc-status"] = str(response.status_code)
    return response


@router.post("/initialize")
async def function_compute_initialize(service: ServiceDep) -> HttpResponse:
    """Function Compute, before the first invocation: wait for ComfyUI's start."""
    try:
        await service.jobs.initialize()
    except ServiceError as error:
        response = refuse(without_paths(error, service.settings))
        response.status_code = 404
        return response
    return HttpResponse()


@router.get("/pre-stop")
async def function_compute_pre_stop(service: ServiceDep) -> HttpResponse:
    """Function Compute, before an instance goes: let the jobs under way end.

    It refuses no new jobs: anybody who reaches the port may ask for it.
    """
    idle = await service.jobs.idle(service.settings.shutdown_grace)
    return HttpResponse(status_code=200 if idle else 404)
