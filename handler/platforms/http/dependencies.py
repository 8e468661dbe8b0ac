"""What routes ask FastAPI for."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote, unquote

from fastapi import Depends, Request

from handler.platforms.http.service import Service

JOBS_PATH = "/v1/jobs/"


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _job_id(job_id: str) -> str:
    return unquote(job_id)


ServiceDep = Annotated[Service, Depends(_service)]
JobId = Annotated[str, Depends(_job_id)]


def job_path(job_id: str) -> str:
    """Return the path of a job; its id is one segment, whatever it holds."""
    return JOBS_PATH + quote(job_id, safe="")
