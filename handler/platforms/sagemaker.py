"""AWS SageMaker AI: real-time and asynchronous endpoints.

Source, read in November 2026: "Custom Inference Code with Hosting Services": POST /invocations, and
GET /ping, which is in :mod:`handler.platforms.ping`.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response as HttpResponse  # noqa: TC002 - FastAPI reads it

from handler.http.dependencies import ServiceDep
from handler.http.invocation import answer, run_event
from handler.http.openapi import REFUSALS

router = APIRouter(tags=["platforms"], include_in_schema=False, responses=REFUSALS)


@router.post("/invocations")
async def sagemaker_invoke(request: Request, service: ServiceDep) -> HttpResponse:
    """SageMaker, real-time and asynchronous: carry out an event."""
    return answer(request, service, await run_event(request, service))
