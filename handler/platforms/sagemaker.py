"""AWS SageMaker AI: real-time and asynchronous endpoints.

Source, read in November 2026: "Custom Inference Code with Hosting Services": GET /ping and
POST /invocations.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response as HttpResponse

from handler.http.dependencies import ServiceDep
from handler.http.info_routes import readiness_of
from handler.http.invocation import answer, run_event
from handler.http.openapi import REFUSALS

router = APIRouter(tags=["platforms"], include_in_schema=False, responses=REFUSALS)


@router.get("/ping")
async def sagemaker_ping(service: ServiceDep) -> HttpResponse:
    """SageMaker: whether the container takes requests. The answer is due within two seconds."""
    return HttpResponse(status_code=200 if (await readiness_of(service)).ready else 503)


@router.post("/invocations")
async def sagemaker_invoke(request: Request, service: ServiceDep) -> HttpResponse:
    """SageMaker, real-time and asynchronous: carry out an event."""
    return answer(request, service, await run_event(request, service))
