"""JSON Schemas of what goes in and comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from comfyui_runtime.parameters import (
    SEED_MAX,
    BooleanParameter,
    ChoiceParameter,
    IntegerParameter,
    NumberParameter,
    SeedParameter,
    StringParameter,
)
from handler.event import DEFAULT_IMAGE, Event
from handler.response import Response

if TYPE_CHECKING:
    from comfyui_runtime.parameters import Parameter
    from comfyui_runtime.workflow import Workflow


def event_schema() -> dict[str, Any]:
    """Return the JSON Schema of an event, whatever its workflow."""
    return Event.model_json_schema()


def response_schema() -> dict[str, Any]:
    """Return the JSON Schema of a response."""
    return TypeAdapter[Any](Response).json_schema(mode="serialization", by_alias=True)


def workflow_event_schema(workflow: Workflow) -> dict[str, Any]:
    """Return the JSON Schema of an event for one workflow: its parameters, with their bounds."""
    schema = event_schema()
    job_input = schema["$defs"]["JobInput"]
    properties = job_input["properties"]
    properties["workflow"] = {"const": workflow.name, "description": workflow.manifest.description}
    properties["params"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: parameter_schema(parameter)
            for name, parameter in workflow.manifest.parameters.items()
        },
    }
    images = workflow.manifest.images
    properties["images"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: {"type": "string", "description": image.description}
            for name, image in images.items()
        },
    }
    if DEFAULT_IMAGE not in images:
        del properties["image"]
    return schema


def parameter_schema(parameter: Parameter) -> dict[str, Any]:
    """Return the JSON Schema of one parameter's value."""
    schema: dict[str, Any]
    match parameter:
        case NumberParameter() | IntegerParameter():
            kind = "number" if isinstance(parameter, NumberParameter) else "integer"
            bounds = {"minimum": parameter.minimum, "maximum": parameter.maximum}
            schema = {"type": kind, **bounds, "default": parameter.default}
        case SeedParameter():
            schema = {"type": "integer", "minimum": 0, "maximum": SEED_MAX}
        case BooleanParameter():
            schema = {"type": "boolean", "default": parameter.default}
        case StringParameter():
            length = {"maxLength": parameter.max_length}
            schema = {"type": "string", **length, "default": parameter.default}
        case ChoiceParameter():
            schema = {"enum": list(parameter.choices), "default": parameter.default}
    return {**schema, "description": parameter.description}
