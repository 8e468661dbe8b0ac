"""The door: from a decoded event to a request that can be carried out.

An event is parsed here, once. What travels on is the request.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from comfyui_runtime.errors import ServiceError
from comfyui_runtime.workflow.editor import is_editor_format
from comfyui_runtime.workflow.manifest import load_workflow
from comfyui_runtime.workflow.parameters import SeedParameter, resolve_parameters
from comfyui_runtime.workflow.patch import check_file_names, check_image_names
from handler.contract.errors import EventError
from handler.contract.event import Webhook, parse_event
from handler.contract.worker_comfyui import input_of
from handler.inputs.source import parse_http_url
from handler.job.caller_graph import caller_graph, caller_workflow
from handler.job.graph_policy import GraphPolicy
from handler.log import job_context
from handler.shelf.s3 import resolve_bucket

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import SecretStr

    from comfyui_runtime.workflow.manifest import Workflow
    from comfyui_runtime.workflow.parameters import ParameterValue
    from handler.contract.event import Event, Output
    from handler.contract.job_id import JobId
    from handler.contract.worker_comfyui import Shape
    from handler.job.caller_graph import Definitions
    from handler.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """An event that can be carried out.

    Attributes:
        values: Every parameter's value, defaults and a drawn seed included.
        images: Where to take each named image from, as the event gave it.
        fingerprint: SHA-256 of what was asked for, the workflow's files included, in hex; not of
            a seed that was drawn. Two requests with one id and one fingerprint are the same job.
        validate_seconds: How long it took to make this of the event.
        files: Where to take each named file from, as the event gave it.
        shape: Whose contract the event follows.
        comfy_org_api_key: For nodes that call paid services; the event's, else the worker's.
        inline_max_bytes: Most bytes that inline results may take in the response; over it they are
            stored, and named by URL. ``None`` for no limit.
        webhook: Where to send word of the job.
    """

    job_id: JobId
    workflow: Workflow
    values: Mapping[str, ParameterValue]
    images: Mapping[str, str]
    output: Output
    fingerprint: str
    validate_seconds: float = 0.0
    files: Mapping[str, str] = field(default_factory=dict)
    shape: Shape = "own"
    comfy_org_api_key: SecretStr | None = None
    inline_max_bytes: int | None = None
    webhook: Webhook | None = None

    @property
    def seed(self) -> int | None:
        """The first seed parameter's value; ``None`` for a workflow without one."""
        for name, parameter in self.workflow.manifest.parameters.items():
            if isinstance(parameter, SeedParameter):
                return int(self.values[name])
        return None

    @property
    def size(self) -> int:
        """Approximate bytes that the request holds, mostly images that were sent in it."""
        texts = [value for value in self.values.values() if isinstance(value, str)]
        return sum(len(text) for text in (*self.images.values(), *self.files.values(), *texts))


def read_request(
    event: object, job_id: JobId, settings: Settings, definitions: Definitions | None = None
) -> Request:
    """Parse an event and check it against the workflow that it names, or the graph that it brings.

    Args:
        event: Decoded JSON; see :mod:`handler.contract.event`.
        job_id: From :func:`handler.contract.job_id.job_id_of`.
        definitions: Returns what node classes declare; only a graph in the editor's format needs
            it, see :func:`needs_runtime`.

    Raises:
        EventError: The event is not of the documented shape.
        UnknownWorkflowError: No such workflow is installed.
        WorkflowError: The workflow's own files are wrong.
        GraphError: The event's graph is none.
        GraphRefusedError: The worker takes no graphs, or not one with such nodes.
        ParameterError: A parameter, an image or a file is unknown, missing or not allowed.
    """
    started = time.perf_counter()
    parsed = parse_event(event, has_bucket=resolve_bucket(settings) is not None)
    asked = parsed.input
    workflow = _workflow(parsed, settings, definitions)
    values = resolve_parameters(workflow.manifest.parameters, asked.params)
    images: Mapping[str, str] = asked.named_images
    files: Mapping[str, str] = asked.files
    if parsed.shape == "worker-comfyui":
        # It takes what no node loads, too.
        taken = workflow.manifest
        files = {name: images[name] for name in images if name in taken.files}
        images = {name: images[name] for name in images if name in taken.images}
    check_image_names(workflow, set(images))
    check_file_names(workflow, set(files))
    return Request(
        job_id,
        workflow,
        values,
        images,
        asked.output,
        _fingerprint(parsed, workflow),
        time.perf_counter() - started,
        files,
        parsed.shape,
        asked.comfy_org_api_key or settings.comfy_org_api_key,
        webhook=_webhook(parsed, settings),
    )


def _webhook(parsed: Event, settings: Settings) -> Webhook | None:
    asked = parsed.input.output.webhook
    field = "input.output.webhook.url"
    if asked is None:
        # Without a secret, the platform's own field stays what it was: not looked at.
        if parsed.webhook is None or settings.webhook_secret is None:
            return None
        asked, field = Webhook(url=parsed.webhook), "webhook"
    if settings.webhook_secret is None:
        raise EventError(
            "The worker sends no webhooks: leave out input.output.webhook, or set WEBHOOK_SECRET."
        )
    try:
        parse_http_url(asked.url)
    except ValueError as error:
        raise EventError(f"Fix {field}: {error}.") from error
    return asked


def webhook_of(event: object, settings: Settings) -> Webhook | None:
    """Return where an event that was taken before wants word of its job; ``None`` for nowhere."""
    try:
        return _webhook(parse_event(event), settings)
    except EventError:
        return None


def needs_runtime(event: object) -> bool:
    """Say whether an event can be read only once ComfyUI runs: its graph is to be converted."""
    given = input_of(event)
    return isinstance(given, dict) and is_editor_format(given.get("workflow"))


def _workflow(parsed: Event, settings: Settings, definitions: Definitions | None) -> Workflow:
    asked = parsed.input
    if isinstance(asked.workflow, str):
        return load_workflow(settings.workflows_dir, asked.workflow)
    policy = GraphPolicy.of(settings)
    policy.check_enabled()
    graph = caller_graph(asked.workflow, definitions)
    policy.check(graph, has_key=asked.comfy_org_api_key is not None)
    return caller_workflow(graph)


@contextlib.contextmanager
def refusals_logged(job_id: JobId) -> Iterator[None]:
    """Log what refuses an event inside, under its id, and let it pass on."""
    with job_context(job_id):
        try:
            yield
        except ServiceError as error:
            log.warning("job refused", extra={"code": error.code, "error": error.message})
            raise


def _fingerprint(event: Event, workflow: Workflow) -> str:
    # An image may be megabytes of base64: written as JSON, it would take longer than to be hashed.
    images, files = (
        {
            name: hashlib.sha256(source.encode(errors="backslashreplace")).hexdigest()
            for name, source in sources.items()
        }
        for sources in (event.input.named_images, event.input.files)
    )
    asked_for: dict[str, object] = {
        "workflow": [workflow.name, workflow.digest],
        "images": images,
        "params": event.input.params,
        # The same job sent again may bring newly signed addresses for its result.
        "output": event.input.output.model_dump(exclude={"put_urls", "webhook"}),
    }
    if files:
        asked_for["files"] = files
    webhook = event.input.output.webhook
    if webhook is not None or event.webhook is not None:
        asked_for["webhook"] = [event.webhook, None if webhook is None else webhook.model_dump()]
    return hashlib.sha256(json.dumps(asked_for, sort_keys=True).encode()).hexdigest()
