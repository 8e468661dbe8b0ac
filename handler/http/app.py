"""The routes and what stands before them, put together."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match
from starlette.staticfiles import StaticFiles

from comfyui_runtime.errors import ServiceError
from handler.contract.errors import EventError, InternalError, MethodNotAllowedError, NotFoundError
from handler.http import info_routes, job_routes
from handler.http.auth import BearerAuth
from handler.http.dependencies import JOBS_PATH
from handler.http.head_requests import HeadAsGet
from handler.http.hosts import HostCheck
from handler.http.openapi import describe
from handler.http.refusals import MountedApi, refuse
from handler.machine_paths import without_paths

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import APIRouter
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp, Receive, Scope, Send

    from handler.http.service import Service

log = logging.getLogger(__name__)

_PAGE = Path(__file__).parent / "page"
_METHOD_NOT_ALLOWED = 405


def make_app(
    service: Service, routers: Sequence[APIRouter] = (), apis: Sequence[MountedApi] = ()
) -> FastAPI:
    """Return the application that answers for a service.

    Args:
        routers: Further routes, such as those that platforms fix.
        apis: Whole APIs beside this one.
    """
    settings = service.settings
    app = FastAPI(
        title="Serverless ComfyUI",
        version="1",
        description="A photo in, a picture's URL out.",
        # The interactive pages load their scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    app.openapi = partial(describe, app, token_needed=settings.api_token is not None)  # type: ignore[method-assign]
    all_routers = (job_routes.router, info_routes.router, *routers)
    for router in all_routers:
        app.include_router(router)
    for api in apis:
        app.mount(api.path, api.app)
    _add_page(app)
    _add_error_handlers(app, [route for router in all_routers for route in router.routes])
    app.add_middleware(_WholeJobIds)
    app.add_middleware(HeadAsGet)
    if settings.api_token is not None:
        app.add_middleware(BearerAuth, token=settings.api_token, links=service.links, apis=apis)
    else:
        app.add_middleware(HostCheck, settings=settings, apis=apis)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=sorted(settings.cors_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Range"],
            expose_headers=["Retry-After", "Content-Range"],
        )
    return app


def make_probe_app(service: Service, routers: Sequence[APIRouter]) -> FastAPI:
    """Return the application of a port for probes alone: they need no token."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.service = service
    for router in routers:
        app.include_router(router)
    _add_error_handlers(app, [route for router in routers for route in router.routes])
    app.add_middleware(HeadAsGet)
    return app


def _add_page(app: FastAPI) -> None:
    index = _PAGE / "index.html"
    if not index.is_file():

        @app.get("/", include_in_schema=False)
        async def service_document() -> JSONResponse:
            return JSONResponse({"name": app.title, "openapi": "/openapi.json"})

        return

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(index, headers={"Cache-Control": "no-cache"})

    app.mount("/page", _FreshFiles(directory=_PAGE), name="page")


class _FreshFiles(StaticFiles):
    """Files that a browser asks about each time: those of two releases do not work together."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:  # noqa: ANN401 - starlette's own
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


class _WholeJobIds:
    """Keeps a job's id one segment of the path: it may hold slashes, percent-encoded.

    ASGI decodes the path before routes are matched; for jobs the path is matched as it was sent,
    and the id decoded afterwards.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope.get("raw_path", b"").startswith(JOBS_PATH.encode()):
            scope = {**scope, "path": scope["raw_path"].decode("ascii", "replace")}
        await self._app(scope, receive, send)


def _methods_of(routes: Sequence[BaseRoute], scope: Scope) -> list[str]:
    """Return the methods that an address takes, by all routes that match it; GET for a file's."""
    methods: set[str] = set()
    for route in routes:
        match, _ = route.matches(scope)
        if match is not Match.NONE:
            methods |= getattr(route, "methods", set())
    methods = methods or {"GET"}
    return sorted(methods | {"HEAD"} if "GET" in methods else methods)


def _add_error_handlers(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    @app.exception_handler(ServiceError)
    async def on_service_error(_: Request, error: ServiceError) -> Response:
        service: Service = app.state.service
        return refuse(without_paths(error, service.settings))

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        if error.status_code != _METHOD_NOT_ALLOWED:
            return refuse(NotFoundError("There is nothing at this address; see /openapi.json."))
        path, allowed = request.url.path, ", ".join(_methods_of(routes, request.scope))
        response = refuse(MethodNotAllowedError(f"{path} takes {allowed}, not {request.method}."))
        response.headers["Allow"] = allowed
        return response

    @app.exception_handler(RequestValidationError)
    async def on_invalid_query(_: Request, error: RequestValidationError) -> Response:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
            for problem in error.errors()
        )
        return refuse(EventError(f"The request is not valid: {problems}."))

    @app.exception_handler(Exception)
    async def on_defect(_: Request, __: Exception) -> Response:
        # The server logs the exception, with its traceback, once this answer is on its way.
        return refuse(InternalError("The server failed in a way it should not; see its log."))
