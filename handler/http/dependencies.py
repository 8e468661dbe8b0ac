"""What routes ask FastAPI for."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, Request

from handler.contract.job_id import JobId
from handler.http.service import Service
from handler.job.jobs import JobState
from handler.job.pool import Job

JOBS_PATH = "/v1/jobs/"


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


ServiceDep = Annotated[Service, Depends(_service)]


def _job(job_id: str, service: ServiceDep) -> Job | JobState:
    """Return the job; callers may name it by the id that they gave it."""
    return service.jobs.find(JobId.of(unquote(job_id)))


FoundJob = Annotated[Job | JobState, Depends(_job)]


def job_path(job_id: JobId) -> str:
    """Return the path of a job."""
    return JOBS_PATH + job_id
