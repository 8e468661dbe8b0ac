"""The description of this API: schemas of events, and examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from handler.contract.event import Event
from handler.http.auth import PROBES
from handler.http.refusals import Refusal

if TYPE_CHECKING:
    from fastapi import FastAPI

_SCHEMAS = "#/components/schemas/"

REFUSALS: dict[int | str, dict[str, Any]] = {
    "default": {"model": Refusal, "description": "What went wrong, and whether a retry helps."}
}

EVENT_EXAMPLES = {
    "photo by URL": {
        "value": {
            "input": {
                "workflow": "illustrate",
                "image": "https://example.com/photo.jpg",
                "params": {"shades": 6},
            }
        }
    },
    "id, format and bytes in the response": {
        "value": {
            "id": "order-7",
            "input": {
                "workflow": "illustrate",
                "image": "data:image/png;base64,iVBORw0KGgo=",
                "output": {"format": "webp", "quality": 85, "delivery": "base64"},
            },
        }
    },
}

EVENT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": f"{_SCHEMAS}Event"},
                "examples": EVENT_EXAMPLES,
            }
        },
    }
}


def describe(app: FastAPI, *, token_needed: bool) -> dict[str, Any]:
    """Return the OpenAPI document of an app; the event's models are among its schemas."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        _, events = models_json_schema([(Event, "validation")], ref_template=f"{_SCHEMAS}{{model}}")
        for path, operations in document["paths"].items():
            for operation in operations.values():
                _correct(operation["responses"])
                if path in PROBES:
                    operation["security"] = []
        components = document.setdefault("components", {})
        components.setdefault("schemas", {}).update(events["$defs"])
        if token_needed:
            components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            document["security"] = [{"token": []}]
        app.openapi_schema = document
    return app.openapi_schema


def _correct(responses: dict[str, Any]) -> None:
    """Say what FastAPI does not know.

    Refusals are JSON, whatever the route's own answer is; and what describes the items of streams
    is of a later version than the document.
    """
    (refusal,) = responses["default"]["content"].values()
    responses["default"]["content"] = {"application/json": refusal}
    for response in responses.values():
        for content in response.get("content", {}).values():
            content.pop("itemSchema", None)
