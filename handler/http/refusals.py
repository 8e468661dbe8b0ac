"""Answers to requests that never became a job: the body of a failed job, without a result."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal

from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from handler.contract.job_id import JobId
from handler.contract.response import ErrorBody, failure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.types import ASGIApp

    from comfyui_runtime.errors import ServiceError

_RETRY_AFTER = 5
_WORTH_WAITING = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


class Refusal(BaseModel):
    """A failure, of a request or of a job."""

    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)

    status: Literal["failed"] = "failed"
    job_id: str | None = Field(description="Null where there is no job.")
    given_id: str | None = Field(None, description="The id as it was given, if one was.")
    error: ErrorBody


def refuse(error: ServiceError, job_id: JobId | None = None) -> Response:
    """Return the response that reports an error."""
    reported = failure(job_id or JobId.new(), error)
    body = Refusal(
        job_id=job_id and reported.job_id, given_id=reported.given_id, error=reported.error
    )
    return Response(
        body.model_dump_json(),
        error.http_status,
        headers=error_headers(error.http_status, retryable=error.retryable),
        media_type="application/json",
    )


def error_headers(status: int, *, retryable: bool) -> dict[str, str]:
    """Return the headers that go with an error: when to try again, how to sign in."""
    if status == HTTPStatus.UNAUTHORIZED:
        return {"WWW-Authenticate": "Bearer"}
    if retryable and status in _WORTH_WAITING:
        return {"Retry-After": str(_RETRY_AFTER)}
    return {}


@dataclass(frozen=True)
class MountedApi:
    """An API of its own within this server, with errors in a shape of its own.

    Attributes:
        path: What its addresses begin with, such as ``/api/v2``.
        app: Answers them.
        refuse: Returns the response that reports an error.
        close: To be called once jobs have ended.
    """

    path: str
    app: ASGIApp
    refuse: Callable[[ServiceError], Response]
    close: Callable[[], None] = lambda: None


def refuse_at(path: str, error: ServiceError, apis: Sequence[MountedApi] = ()) -> Response:
    """Return the response that reports an error, in the shape of the API that an address is of."""
    for api in apis:
        if path.startswith(f"{api.path}/"):
            return api.refuse(error)
    return refuse(error)
