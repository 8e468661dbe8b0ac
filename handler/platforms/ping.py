"""``GET /ping``: what SageMaker and RunPod's load balancer ask a container.

Sources, read in November 2026: "Custom Inference Code with Hosting Services" of AWS (200 for a
container that takes requests); "Load balancing endpoints: Overview" at docs.runpod.io (200 healthy,
204 initializing, any other status takes the worker out; asked on ``PORT_HEALTH``).
"""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter
from fastapi.responses import Response as HttpResponse

from handler.http.dependencies import ServiceDep
from handler.http.info_routes import readiness_of
from handler.http.openapi import REFUSALS

router = APIRouter(tags=["platforms"], include_in_schema=False, responses=REFUSALS)


@router.get("/ping")
async def ping(service: ServiceDep) -> HttpResponse:
    """Say whether jobs can be run. SageMaker waits two seconds for the answer.

    A start that goes on is 204 where the platform set ``PORT_HEALTH``, as RunPod does, and 503
    elsewhere.
    """
    readiness = await readiness_of(service)
    if readiness.ready:
        return HttpResponse(status_code=HTTPStatus.OK)
    if readiness.stage == "booting" and service.settings.health_port is not None:
        return HttpResponse(status_code=HTTPStatus.NO_CONTENT)
    return HttpResponse(status_code=HTTPStatus.SERVICE_UNAVAILABLE)
