"""The step from an event to a validated request: workflow loaded, parameters and images checked."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from comfyui_runtime.workflow.manifest import load_workflow
from comfyui_runtime.workflow.parameters import SeedParameter, resolve_parameters
from comfyui_runtime.workflow.patch import check_image_names

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from comfyui_runtime.workflow.manifest import Workflow
    from comfyui_runtime.workflow.parameters import ParameterValue
    from handler.contract.event import Event, Output


@dataclass(frozen=True)
class Request:
    """An event that can be carried out.

    Attributes:
        values: Every parameter's value, defaults and a drawn seed included.
        images: Where to take each named image from, as the event gave it.
        fingerprint: SHA-256 of what was asked for, the workflow's files included, in hex; not of
            a seed that was drawn.
    """

    job_id: str
    workflow: Workflow
    values: Mapping[str, ParameterValue]
    images: Mapping[str, str]
    output: Output
    fingerprint: str

    @property
    def seed(self) -> int | None:
        """The first seed parameter's value; ``None`` for a workflow without one."""
        for name, parameter in self.workflow.manifest.parameters.items():
            if isinstance(parameter, SeedParameter):
                return int(self.values[name])
        return None


def validate_request(event: Event, job_id: str, workflows_dir: Path) -> Request:
    """Check an event against the workflow that it names.

    Raises:
        UnknownWorkflowError: No such workflow is installed.
        WorkflowError: The workflow's own files are wrong.
        ParameterError: A parameter or an image is unknown, missing or not allowed.
    """
    workflow = load_workflow(workflows_dir, event.input.workflow)
    values = resolve_parameters(workflow.manifest.parameters, event.input.params)
    images = event.input.named_images
    check_image_names(workflow, set(images))
    return Request(
        job_id, workflow, values, images, event.input.output, _fingerprint(event, workflow)
    )


def job_id_of(event: object) -> str:
    """Return an event's id, even where the event is not valid; a new one where it has none."""
    match event:
        case {"id": str() as job_id} if job_id:
            return job_id
        case _:
            return uuid.uuid4().hex


def _fingerprint(event: Event, workflow: Workflow) -> str:
    # An image may be megabytes of base64: written as JSON, it would take longer than to be hashed.
    images = {
        name: hashlib.sha256(source.encode(errors="backslashreplace")).hexdigest()
        for name, source in event.input.named_images.items()
    }
    asked_for = {
        "workflow": [workflow.name, workflow.digest],
        "images": images,
        "params": event.input.params,
        "output": event.input.output.model_dump(),
    }
    return hashlib.sha256(json.dumps(asked_for, sort_keys=True).encode()).hexdigest()
