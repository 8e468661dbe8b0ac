"""JSON Schemas of what goes in and comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from comfyui_runtime.workflow.parameters import (
    LONGEST_MODEL_ADDRESS,
    SEED_MAX,
    BooleanParameter,
    ChoiceParameter,
    IntegerParameter,
    ModelParameter,
    NumberParameter,
    SeedParameter,
    StringParameter,
)
from handler.contract.event import DEFAULT_IMAGE, Event
from handler.contract.response import Response
from handler.contract.worker_comfyui import WorkerInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from comfyui_runtime.workflow.manifest import FileInput, ImageInput, Workflow
    from comfyui_runtime.workflow.parameters import Parameter


def event_schema() -> dict[str, Any]:
    """Return the JSON Schema of an event, whatever its workflow, and whosever contract it follows.

    An ``input`` that is a JSON text is not looked into.
    """
    schema = _own_event_schema()
    worker = WorkerInput.model_json_schema()
    schema["$defs"] |= worker.pop("$defs") | {"WorkerInput": worker}
    own = schema["properties"]["input"]
    text = {"type": "string", "contentMediaType": "application/json"}
    schema["properties"]["input"] = {"anyOf": [own, {"$ref": "#/$defs/WorkerInput"}, text]}
    return schema


def _own_event_schema() -> dict[str, Any]:
    return Event.model_json_schema()


def response_schema() -> dict[str, Any]:
    """Return the JSON Schema of a response."""
    return TypeAdapter[Any](Response).json_schema(mode="serialization", by_alias=True)


def workflow_event_schema(workflow: Workflow) -> dict[str, Any]:
    """Return the JSON Schema of an event for one workflow: its inputs, its parameters' bounds."""
    schema = _own_event_schema()
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
    _narrow_images(job_input, workflow.manifest.images)
    _narrow_files(job_input, workflow.manifest.files)
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
        case ModelParameter():
            schema = {
                "type": "string",
                "minLength": 1,
                "maxLength": LONGEST_MODEL_ADDRESS,
                "default": parameter.default,
            }
            if parameter.choices:
                url = {"pattern": "^[hH][tT][tT][pP][sS]?://"}
                schema["anyOf"] = [{"enum": list(parameter.choices)}, url]
    return {**schema, "description": parameter.description}


def _narrow_images(job_input: dict[str, Any], images: Mapping[str, ImageInput]) -> None:
    required = [name for name, image in images.items() if image.required]
    only_by_name = [name for name in required if name != DEFAULT_IMAGE]
    job_input["properties"]["images"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: {"type": "string", "minLength": 1, "description": image.description}
            for name, image in images.items()
        },
        "required": only_by_name,
    }
    if only_by_name:
        job_input["required"] = [*job_input["required"], "images"]
    if DEFAULT_IMAGE not in images:
        del job_input["properties"]["image"]
    elif DEFAULT_IMAGE in required:
        job_input["oneOf"] = [
            {"required": ["image"], "properties": {"image": {"type": "string"}}},
            {"required": ["images"], "properties": {"images": {"required": [DEFAULT_IMAGE]}}},
        ]


def _narrow_files(job_input: dict[str, Any], files: Mapping[str, FileInput]) -> None:
    required = [name for name, file in files.items() if file.required]
    job_input["properties"]["files"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: {"type": "string", "minLength": 1, "description": file.description}
            for name, file in files.items()
        },
        "required": required,
    }
    if required:
        job_input["required"] = [*job_input["required"], "files"]
