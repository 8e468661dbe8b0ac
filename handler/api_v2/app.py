"""The API as an application that the server mounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from comfyui_runtime.errors import ServiceError
from handler.api_v2 import asset_routes, job_routes
from handler.api_v2.errors import refuse
from handler.api_v2.state import ApiV2
from handler.api_v2.views import PATH
from handler.contract.errors import (
    EventError,
    InternalError,
    MethodNotAllowedError,
    NotFoundError,
)
from handler.http.refusals import MountedApi
from handler.machine_paths import without_paths

if TYPE_CHECKING:
    from fastapi import Request, Response

    from handler.http.service import Service
    from handler.shelf import Shelf

_METHOD_NOT_ALLOWED = 405


def open_api_v2(service: Service, shelf: Shelf) -> MountedApi:
    """Return the API on a server's jobs.

    Args:
        shelf: Where results go.
    """
    return make_mounted(ApiV2(service, shelf))


def make_mounted(api: ApiV2) -> MountedApi:
    """Return the API with a state that is there already."""
    return MountedApi(PATH, make_app(api), refuse, api.close)


def make_app(api: ApiV2) -> FastAPI:
    """Return the application; its paths are those below :data:`PATH`."""
    app = FastAPI(
        title="Comfy API v2", version="2.0.0", docs_url=None, redoc_url=None, openapi_url=None
    )
    app.state.api = api
    app.include_router(asset_routes.router)
    app.include_router(job_routes.router)

    @app.exception_handler(ServiceError)
    async def on_service_error(_: Request, error: ServiceError) -> Response:
        return refuse(without_paths(error, api.settings))

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        if error.status_code == _METHOD_NOT_ALLOWED:
            path = request.url.path
            return refuse(MethodNotAllowedError(f"{path} does not take {request.method}."))
        return refuse(NotFoundError("There is nothing at this address."))

    @app.exception_handler(RequestValidationError)
    async def on_invalid_request(_: Request, error: RequestValidationError) -> Response:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
            for problem in error.errors()
        )
        return refuse(EventError(f"The request is not valid: {problems}."))

    @app.exception_handler(Exception)
    async def on_defect(_: Request, __: Exception) -> Response:
        # The server logs the exception, with its traceback, once this answer is on its way.
        return refuse(InternalError("The server failed in a way it should not; see its log."))

    return app
