"""Errors in the API's envelope, with its codes."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.responses import JSONResponse

from handler.http.refusals import error_headers

if TYPE_CHECKING:
    from comfyui_runtime.errors import ServiceError

# What each code of ours is there, with its HTTP status; the others stay as they are.
_CODES: dict[str, tuple[str, int]] = {
    "invalid_event": ("invalid_request", HTTPStatus.UNPROCESSABLE_ENTITY),
    "malformed_json": ("invalid_request", HTTPStatus.UNPROCESSABLE_ENTITY),
    "unsupported_media_type": ("invalid_request", HTTPStatus.UNPROCESSABLE_ENTITY),
    "invalid_graph": ("invalid_workflow", HTTPStatus.UNPROCESSABLE_ENTITY),
    "missing_node_class": ("invalid_workflow", HTTPStatus.UNPROCESSABLE_ENTITY),
    "missing_model": ("invalid_workflow", HTTPStatus.UNPROCESSABLE_ENTITY),
    "invalid_parameter": ("invalid_workflow", HTTPStatus.UNPROCESSABLE_ENTITY),
    "unknown_workflow": ("invalid_workflow", HTTPStatus.UNPROCESSABLE_ENTITY),
    "workflow_broken": ("invalid_workflow", HTTPStatus.UNPROCESSABLE_ENTITY),
    "graph_refused": ("forbidden", HTTPStatus.FORBIDDEN),
    "overloaded": ("queue_full", HTTPStatus.TOO_MANY_REQUESTS),
    "booting": ("deployment_not_ready", HTTPStatus.TOO_MANY_REQUESTS),
    "shutting_down": ("deployment_not_ready", HTTPStatus.TOO_MANY_REQUESTS),
    "unknown_job": ("not_found", HTTPStatus.NOT_FOUND),
}
_UPSTREAM = "upstream_error"
_RETRY_AFTER = 2


def refuse(error: ServiceError) -> JSONResponse:
    """Return the response that reports an error.

    What fails behind the API is told as ``upstream_error``, without its detail, which the log has.
    """
    code, status = _CODES.get(error.code, (error.code, error.http_status))
    message = error.message
    details: dict[str, Any] | None = _details(error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        code, status, details = _UPSTREAM, HTTPStatus.INTERNAL_SERVER_ERROR, None
        message = "The request could not be carried out; try again in a while."
    headers = error_headers(status, retryable=error.retryable)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        headers = {"Retry-After": str(_RETRY_AFTER)}
    body: dict[str, Any] = {"code": code, "message": message, "details": details}
    return JSONResponse({"error": body}, status, headers)


def _details(error: ServiceError) -> dict[str, Any] | None:
    """Return an error's details; those of a node under the node's id, as the API has them."""
    details: dict[str, Any] = dict(error.details)
    node_id = details.get("node_id")
    if isinstance(node_id, str) and "node_errors" not in details:
        problem = {"field": details.get("input"), "reason": error.code, "message": error.message}
        details["node_errors"] = {node_id: [problem]}
    return details or None
