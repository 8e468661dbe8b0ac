"""Tencent Cloud SCF, "WebServer Image Function" (read in November 2026): POST /event-invoke."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response as HttpResponse  # noqa: TC002 - FastAPI reads it

from handler.http.dependencies import ServiceDep
from handler.http.invocation import answer, run_event
from handler.http.openapi import REFUSALS

router = APIRouter(tags=["platforms"], include_in_schema=False, responses=REFUSALS)


@router.post("/event-invoke")
async def scf_invoke(request: Request, service: ServiceDep) -> HttpResponse:
    """SCF: carry out an event."""
    return answer(request, service, await run_event(request, service))
