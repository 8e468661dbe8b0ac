"""KServe's "Data Plane (V1)", read in November 2026.

GET /v1/models/NAME says whether a workflow can run; POST /v1/models/NAME:predict runs it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from fastapi.responses import Response as HttpResponse
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from comfyui_runtime.errors import UnknownWorkflowError
from handler.contract.errors import EventError
from handler.contract.job_id import job_id_of
from handler.contract.response import Failure
from handler.http.body import read_json
from handler.http.dependencies import ServiceDep
from handler.http.invocation import base_url, run_job
from handler.http.openapi import REFUSALS
from handler.http.results import with_whole_urls

router = APIRouter(tags=["platforms"], include_in_schema=False, responses=REFUSALS)


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
    body = await read_json(request, service)
    try:
        asked = _Prediction.model_validate(body)
    except ValidationError as error:
        raise EventError(
            'Send {"instances": [INPUT, ...]}, 1 to 64 of them, each an event\'s input without its '
            "workflow."
        ) from error
    events = [
        _event(workflow, number, instance, asked.id)
        for number, instance in enumerate(asked.instances)
    ]
    responses = await asyncio.gather(
        *(run_job(request, service, event, job_id_of(event)) for event in events)
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
    workflow: str, number: int, instance: dict[str, Any], given_id: str | None
) -> dict[str, Any]:
    event = {"input": {**instance, "workflow": workflow}}
    return {"id": f"{given_id}-{number}", **event} if given_id else event
