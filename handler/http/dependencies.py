"""What routes ask FastAPI for."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote, unquote

from fastapi import Depends, Request

from handler.http.jobs import JobState
from handler.http.service import Service
from handler.job.pool import Job

JOBS_PATH = "/v1/jobs/"


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


ServiceDep = Annotated[Service, Depends(_service)]


def _job(job_id: str, service: ServiceDep) -> Job | JobState:
    return service.jobs.find(unquote(job_id))


FoundJob = Annotated[Job | JobState, Depends(_job)]


def job_path(job_id: str) -> str:
    """Return the path of a job; its id is one segment, whatever it holds."""
    return JOBS_PATH + quote(job_id, safe="")
