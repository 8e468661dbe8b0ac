"""What this server is and has: health, readiness, workflows, models, metrics, results."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict, Field

from handler.http.catalogue import ModelFile, WorkflowEntry
from handler.http.dependencies import ServiceDep
from handler.http.openapi import REFUSALS
from handler.http.results import result_file
from handler.http.service import Service, Stage

if TYPE_CHECKING:
    from handler.settings import Settings

_ROOM_FOR_THE_REST = 64 * 1024

router = APIRouter(tags=["server"], responses=REFUSALS)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class Health(_Answer):
    """That the process answers."""

    stage: Stage


class Readiness(_Answer):
    """Whether jobs can be run."""

    ready: bool
    stage: Stage
    problems: list[str] = Field(description="What is missing, and what to do about it.")


class InputLimits(_Answer):
    """What a photo or a file that is sent may have."""

    image_bytes: int = Field(description="Bytes of the file, such that its base64 can be sent.")
    image_pixels: int = Field(description="Width times height.")
    file_bytes: int = Field(description="Bytes of a video, sound or other file, likewise.")


class Workflows(_Answer):
    """The installed workflows."""

    workflows: list[WorkflowEntry]
    limits: InputLimits


class Models(_Answer):
    """The models that the workflows name.

    ``models`` has the names of the workflows that can run: KServe calls those models, and asks for
    them at this address.
    """

    models: list[str]
    files: list[ModelFile]


@router.get("/health")
async def health(service: ServiceDep) -> Health:
    """Say that the process is alive, also while ComfyUI starts."""
    return Health(stage=service.stage)


@router.get("/ready", responses={503: {"model": Readiness}})
async def ready(service: ServiceDep, response: Response) -> Readiness:
    """Say whether jobs can be run: ComfyUI has started, models are in place, no stop was asked."""
    readiness = await readiness_of(service)
    response.status_code = 200 if readiness.ready else 503
    return readiness


async def readiness_of(service: Service) -> Readiness:
    """Return whether jobs can be run."""
    problems = await asyncio.to_thread(service.catalogue.problems)
    stage = service.stage
    return Readiness(ready=stage == "running" and not problems, stage=stage, problems=problems)


@router.get("/v1/workflows")
async def workflows(service: ServiceDep) -> Workflows:
    """List the installed workflows: parameters, images, models, and which of them can run."""
    return Workflows(
        workflows=list(await asyncio.to_thread(service.catalogue.workflows)),
        limits=_input_limits(service.settings),
    )


@router.get("/v1/models")
async def models(service: ServiceDep) -> Models:
    """List the model files that the workflows name, and which of them are in place."""
    files = await asyncio.to_thread(service.catalogue.models)
    entries = await asyncio.to_thread(service.catalogue.workflows)
    return Models(models=[entry.name for entry in entries if entry.runnable], files=files)


@router.get("/v1/results/{key:path}", response_class=FileResponse)
def result(key: str, service: ServiceDep) -> FileResponse:
    """Return a result's file, where results are stored in a local folder."""
    return result_file(service.settings, key)


@router.get("/metrics", response_class=Response)
def metrics(service: ServiceDep) -> Response:
    """Return the figures in Prometheus' text format."""
    return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _input_limits(settings: Settings) -> InputLimits:
    # base64 has four characters for three bytes; the rest of an event needs some room too.
    sendable = max(0, settings.request_max_bytes - _ROOM_FOR_THE_REST) // 4 * 3
    return InputLimits(
        image_bytes=min(settings.input_max_bytes, sendable),
        image_pixels=settings.input_max_pixels,
        file_bytes=min(settings.input_file_max_bytes, sendable),
    )
