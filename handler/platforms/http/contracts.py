"""The routes that platforms fix: each does what a route of this server's own does.

Sources, read in November 2026; docs/http.md has their addresses:

- Alibaba Cloud Function Compute, "Event handlers" and "Lifecycle hooks for function instances" of
  custom container runtimes: POST /invoke with the event as octets, answered 200 or 404 and the same
  in ``x-fc-status``; POST /initialize and GET /pre-stop.
- Tencent Cloud SCF, "WebServer Image Function": POST /event-invoke.
- AWS SageMaker AI, "Custom Inference Code with Hosting Services": GET /ping, POST /invocations.
- KServe, "Data Plane (V1)": GET /v1/models/NAME, POST /v1/models/NAME:predict.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from fastapi.responses import Response as HttpResponse
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from comfyui_runtime.errors import ServiceError, UnknownWorkflowError
from handler.errors import EventError
from handler.platforms.http.body import read_json
from handler.platforms.http.dependencies import ServiceDep
from handler.platforms.http.info_routes import readiness_of
from handler.platforms.http.invocation import answer, base_url, read_event, run_event
from handler.platforms.http.openapi import REFUSALS
from handler.platforms.http.refusals import refuse
from handler.platforms.http.results import with_whole_urls
from handler.response import Failure

router = APIRouter(tags=["platforms"], include_in_schema=False, responses=REFUSALS)


@router.post("/invoke")
async def function_compute_invoke(request: Request, service: ServiceDep) -> HttpResponse:
    """Function Compute: carry out an event."""
    try:
        event = await read_event(request, service)
        response = answer(request, service, await run_event(request, service, event))
    except ServiceError as error:
        response = refuse(error, request.headers.get("x-fc-request-id"))
    response.status_code = 200 if response.status_code == 200 else 404  # noqa: PLR2004
    response.headers["x-fc-status"] = str(response.status_code)
    return response


@router.post("/initialize")
async def function_compute_initialize(service: ServiceDep) -> HttpResponse:
    """Function Compute, before the first invocation: wait for ComfyUI's start."""
    try:
        await service.wait_for_boot()
    except ServiceError as error:
        response = refuse(error)
        response.status_code = 404
        return response
    return HttpResponse()


@router.get("/pre-stop")
async def function_compute_pre_stop(service: ServiceDep) -> HttpResponse:
    """Function Compute, before an instance goes: let the jobs under way end.

    It refuses no new jobs: anybody who reaches the port may ask for it.
    """
    idle = await service.idle(service.settings.shutdown_grace)
    return HttpResponse(status_code=200 if idle else 404)


@router.post("/event-invoke")
async def scf_invoke(request: Request, service: ServiceDep) -> HttpResponse:
    """SCF: carry out an event."""
    event = await read_event(request, service)
    return answer(request, service, await run_event(request, service, event))


@router.get("/ping")
async def sagemaker_ping(service: ServiceDep) -> HttpResponse:
    """SageMaker: whether the container takes requests. The answer is due within two seconds."""
    return HttpResponse(status_code=200 if (await readiness_of(service)).ready else 503)


@router.post("/invocations")
async def sagemaker_invoke(request: Request, service: ServiceDep) -> HttpResponse:
    """SageMaker, real-time and asynchronous: carry out an event."""
    event = await read_event(request, service)
    return answer(request, service, await run_event(request, service, event))


@router.get("/v1/models/{workflow}")
async def kserve_ready(workflow: str, service: ServiceDep) -> dict[str, JsonValue]:
    """KServe: whether a workflow can run."""
    entries = {entry.name: entry for entry in await asyncio.to_thread(service.catalogue.workflows)}
    if workflow not in entries:
        raise UnknownWorkflowError(
            f'There is no workflow "{workflow}". Installed: {", ".join(entries) or "none"}.',
            allowed=list[JsonValue](entries),
        )
    ready = entries[workflow].runnable and service.stage == "running"
    return {"name": workflow, "ready": ready}


class _Prediction(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    instances: list[dict[str, Any]] = Field(min_length=1, max_length=64)
    id: str | None = None


@router.post("/v1/models/{workflow}:predict")
async def kserve_predict(workflow: str, request: Request, service: ServiceDep) -> HttpResponse:
    """KServe: carry out one job an instance; an instance is an event's ``input``."""
    body = await read_json(request, service.settings.request_max_bytes)
    try:
        asked = _Prediction.model_validate(body)
    except ValidationError as error:
        raise EventError(
            'Send {"instances": [INPUT, ...]}, 1 to 64 of them, each an event\'s input without its '
            "workflow."
        ) from error
    responses = await asyncio.gather(
        *(
            run_event(request, service, _event(workflow, number, instance, asked.id))
            for number, instance in enumerate(asked.instances)
        )
    )
    url = base_url(request, service)
    predictions = [with_whole_urls(response, url).to_json() for response in responses]
    failed = [response for response in responses if isinstance(response, Failure)]
    if not failed:
        return JSONResponse({"predictions": predictions})
    return JSONResponse(
        {"error": failed[0].error.message, "predictions": predictions}, failed[0].http_status
    )


def _event(
    workflow: str, number: int, instance: dict[str, Any], job_id: str | None
) -> dict[str, Any]:
    return {
        "id": f"{job_id}-{number}" if job_id else uuid.uuid4().hex,
        "input": {**instance, "workflow": workflow},
    }
