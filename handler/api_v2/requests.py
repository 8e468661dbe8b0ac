"""JSON bodies of requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from handler.contract.errors import EventError
from handler.http.body import read_json

if TYPE_CHECKING:
    from fastapi import Request

    from handler.api_v2.state import ApiV2

Body = TypeVar("Body", bound=BaseModel)


async def read_body(request: Request, api: ApiV2, kind: type[Body]) -> Body:
    """Return a request's body.

    Raises:
        EventError: It is not of the documented shape.
        ServiceError: It cannot be read; see :func:`handler.http.body.read_json`.
    """
    data = await read_json(request, api.service)
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'body'}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)[:20]
        )
        raise EventError(f"The body is not valid: {problems}.") from error
