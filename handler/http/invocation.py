"""The steps from a request with an event to a job's response."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fastapi.responses import Response as HttpResponse

from comfyui_runtime.errors import CancelledError, ServiceError
from handler.contract.answer import answer_of
from handler.contract.job_id import job_id_of
from handler.contract.response import Failure, failure
from handler.contract.worker_comfyui import shape_of
from handler.http.body import read_json
from handler.http.refusals import error_headers
from handler.http.results import with_whole_urls
from handler.machine_paths import without_paths

if TYPE_CHECKING:
    from starlette.requests import Request

    from handler.contract.job_id import JobId
    from handler.contract.response import Response
    from handler.http.service import Service
    from handler.job.pool import Job

# The id under which a platform knows an invocation, and retries it: Function Compute's, SCF's,
# SageMaker's.
_ID_HEADERS = ("x-fc-request-id", "x-scf-request-id", "x-amzn-sagemaker-inference-id")


async def read_event(request: Request, service: Service) -> tuple[object, JobId]:
    """Return the event in a request, decoded, and its id: its own, the platform's, or a new one.

    Raises:
        ServiceError: See :func:`handler.http.body.read_json`.
    """
    event = await read_json(request, service)
    return event, job_id_of(event, platform_id(request))


def platform_id(request: Request) -> str | None:
    """Return the id under which the platform knows a request, if it says one."""
    return next(filter(None, map(request.headers.get, _ID_HEADERS)), None)


async def run_event(request: Request, service: Service) -> Response:
    """Carry out the event in a request; see :func:`run_job`.

    Raises:
        ServiceError: The request holds no JSON; see :func:`read_event`.
    """
    event, job_id = await read_event(request, service)
    return await run_job(request, service, event, job_id)


async def run_job(request: Request, service: Service, event: object, job_id: JobId) -> Response:
    """Carry an event out, and cancel it if the client goes away. Every failure is a ``Failure``."""
    try:
        job = await service.jobs.submit(event, job_id, detached=False)
        return await wait_for_end(request, service, job)
    except ServiceError as error:
        refused = failure(job_id, without_paths(error, service.settings))
        return refused.shaped(shape_of(event))


async def wait_for_end(
    request: Request, service: Service, job: Job, within: float | None = None
) -> Response:
    """Return a job's response.

    Args:
        within: Seconds; the job's own time limit without them.

    Raises:
        CancelledError: The client went away first.
        TimeoutError: The time is up.
    """
    ended: asyncio.Future[Response] = asyncio.wrap_future(job.future)
    gone: asyncio.Future[None] = asyncio.create_task(_disconnected(request))
    try:
        with service.jobs.waiting_for(job):
            futures: set[asyncio.Future[Any]] = {ended, gone}
            await asyncio.wait(futures, timeout=within, return_when=asyncio.FIRST_COMPLETED)
            went_away = gone.done()
    finally:
        gone.cancel()
        with suppress(asyncio.CancelledError):
            await gone
    if ended.done():
        return ended.result()
    if went_away:
        raise CancelledError("The client went away before the job had ended.")
    raise TimeoutError


def answer(request: Request, service: Service, response: Response) -> HttpResponse:
    """Return a job's response as HTTP: 200, or the status of its error."""
    headers = {}
    status = 200
    if isinstance(response, Failure):
        status = response.http_status
        headers = error_headers(status, retryable=response.error.retryable)
    whole = with_whole_urls(response, base_url(request, service))
    if whole.shape == "own":
        text = whole.model_dump_json(by_alias=True)
    else:
        text = json.dumps(answer_of(whole), ensure_ascii=False)
    return HttpResponse(text, status, headers, media_type="application/json")


def base_url(request: Request, service: Service) -> str:
    """Return the address of this server in results' URLs."""
    return service.settings.public_url or str(request.base_url)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
