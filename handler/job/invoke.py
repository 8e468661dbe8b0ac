"""The function itself: ``invoke(request) -> response``, the only place with the steps' order."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from comfyui_runtime.errors import ServiceError
from comfyui_runtime.run.cancellation import Cancellation
from comfyui_runtime.run.outputs import TextOutput
from comfyui_runtime.workflow.files import extension_of
from comfyui_runtime.workflow.patch import patch
from handler.contract.errors import InternalError, OutputError
from handler.contract.job_id import job_id_of
from handler.contract.progress import JobProgress
from handler.contract.response import Success, Timings, failure
from handler.contract.worker_comfyui import shape_of
from handler.job.clock import Clock
from handler.job.encode import encode
from handler.job.filenames import with_filenames
from handler.job.request import read_request, refusals_logged
from handler.job.single_flight import SingleFlight
from handler.log import job_context
from handler.machine_paths import without_paths

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from comfyui_runtime.run.outputs import Output
    from comfyui_runtime.run.progress import OnProgress, Progress
    from comfyui_runtime.run.runtime import Runtime
    from comfyui_runtime.workflow.files import InputFile, Media
    from comfyui_runtime.workflow.images import PixelImage
    from comfyui_runtime.workflow.manifest import Workflow
    from comfyui_runtime.workflow.patch import PatchedGraph
    from handler.contract.job_id import JobId
    from handler.contract.progress import OnJobProgress
    from handler.contract.response import Response
    from handler.inputs import InputFetcher
    from handler.inputs.job_files import JobFiles
    from handler.job.encode import EncodedFile
    from handler.job.graph_models import GraphModels
    from handler.job.request import Request
    from handler.job.results import Delivery, Results
    from handler.settings import Settings

log = logging.getLogger(__name__)


class Function:
    """A booted function. Safe from several threads; at most one job is on the device at a time.

    Args:
        runtime: Runs the graphs.
        fetcher: Gets the callers' images and files.
        delivery: Hands the results over.
        models: Gets what graphs need that is not there; ``None`` where ComfyUI runs elsewhere.
    """

    def __init__(
        self,
        settings: Settings,
        runtime: Runtime,
        fetcher: InputFetcher,
        delivery: Delivery,
        models: GraphModels | None = None,
    ) -> None:
        self.settings = settings
        self.runtime = runtime
        self._fetcher = fetcher
        self._delivery = delivery
        self._models = models
        self._first_job = threading.Lock()
        self._identical = SingleFlight()

    def new_cancellation(self) -> Cancellation:
        """Return a cancellation with the time limit that the settings give a job."""
        return Cancellation(self.settings.job_timeout)

    def read(self, event: object, job_id: JobId | None = None) -> Request:
        """Return the request that an event makes; see :func:`handler.job.request.read_request`.

        Args:
            job_id: The event's; made here where it is not given.

        Raises:
            ServiceError: The event cannot be carried out.
        """

        def definitions(class_types: Iterable[str]) -> Mapping[str, Mapping[str, Any]]:
            return self.runtime.node_definitions(class_types)

        return read_request(event, job_id or job_id_of(event), self.settings, definitions)

    def answer(self, event: object) -> Response:
        """Read an event and carry it out, on the calling thread. Never raises.

        For callers that have one event at a time. Others read theirs first, and queue the requests
        in a :class:`handler.job.pool.JobPool`.

        Args:
            event: Decoded JSON; see :mod:`handler.contract.event`.
        """
        job_id = job_id_of(event)
        try:
            with refusals_logged(job_id):
                request = self.read(event, job_id)
        except ServiceError as error:
            refused = failure(job_id, without_paths(error, self.settings))
            return refused.shaped(shape_of(event))
        return self.invoke(request)

    def invoke(
        self,
        request: Request,
        cancellation: Cancellation | None = None,
        on_progress: OnJobProgress | None = None,
    ) -> Response:
        """Carry out one request. Never raises: whatever goes wrong is a ``Failure``.

        Args:
            cancellation: To stop the job from another thread; made here where it is not given.
            on_progress: Called on several threads, one after the other, and never after the
                return; it must return at once.
        """
        cold_start = self._first_job.acquire(blocking=False)
        secret = request.comfy_org_api_key
        hidden = None if secret is None else secret.get_secret_value()
        with job_context(request.job_id, hidden), _Reports(on_progress) as report:
            # The one boundary: every failure leaves as a response.
            try:
                response = self._carry_out(
                    request, cancellation or self.new_cancellation(), report, cold_start=cold_start
                )
            except ServiceError as caught:
                error = _without_key(caught, request)
                log.warning("job failed", extra={"code": error.code, "error": error.message})
                told = without_paths(error, self.settings)
                failed = failure(request.job_id, told, replace_worker=self.runtime.broken)
                return failed.shaped(request.shape)
            except Exception:
                log.exception("job failed", extra={"code": InternalError.code})
                internal = InternalError(
                    "The worker failed in a way it should not. Its log tells the cause under the "
                    f"job id {request.job_id}."
                )
                failed = failure(request.job_id, internal, replace_worker=self.runtime.broken)
                return failed.shaped(request.shape)
            log.info("job done", extra={"seconds": response.timings.model_dump(by_alias=True)})
            return response

    def _carry_out(
        self,
        request: Request,
        cancellation: Cancellation,
        report: OnJobProgress,
        *,
        cold_start: bool,
    ) -> Success:
        cancellation.check()
        clock = Clock(request.validate_seconds)
        clock.add("validate", request.validate_seconds)
        kept = self._delivery.deliver_kept(request)
        if kept is not None:
            return _success(request, kept, clock, cold_start=cold_start)
        report(JobProgress(phase="fetch"))
        self._delivery.check(request, cancellation)
        with self._fetcher.job_files() as job_files:
            with clock.phase("fetch"):
                inputs = self._fetch(request, cancellation, job_files)
            with self._turn(request, inputs, cancellation):
                same = self._delivery.deliver_same(request, inputs.by_name)
                results = same or self._run(request, inputs, cancellation, report, clock)
        return _success(request, results, clock, cold_start=cold_start)

    def _turn(
        self, request: Request, inputs: Inputs, cancellation: Cancellation
    ) -> contextlib.AbstractContextManager[None]:
        """Let identical requests that allow reuse in one after the other: one run is enough."""
        key = self._delivery.reuse_key(request, inputs.by_name)
        return contextlib.nullcontext() if key is None else self._identical.turn(key, cancellation)

    def _run(
        self,
        request: Request,
        inputs: Inputs,
        cancellation: Cancellation,
        report: OnJobProgress,
        clock: Clock,
    ) -> Results:
        key = request.comfy_org_api_key
        patched = replace(
            patch(request.workflow, request.values, inputs.images, inputs.files),
            comfy_org_api_key=None if key is None else key.get_secret_value(),
        )
        with contextlib.ExitStack() as at_end:
            if self._models is not None:
                with clock.phase("fetch"):
                    patched = self._models.bring(request.workflow, patched, cancellation, at_end)
            result = self.runtime.run(patched, cancellation, _node_progress(report))
            at_end.callback(result.discard)
            log.info(
                "graph ran",
                extra={
                    "cached_nodes": list(result.cached_nodes),
                    "node_seconds": {node: round(s, 4) for node, s in result.node_seconds.items()},
                },
            )
            clock.add("validate", result.validate_seconds)
            clock.add("queue", result.queue_seconds)
            clock.add("run", result.run_seconds)
            cancellation.check()
            report(JobProgress(phase="encode", fraction=1.0))
            with clock.phase("encode"):
                encoded = _encode(request, patched, result.outputs)
            report(JobProgress(phase="store", fraction=1.0))
            with clock.phase("store"):
                results = self._delivery.deliver(request, inputs.by_name, encoded, cancellation)
            return replace(results, warnings=(*result.warnings, *results.warnings))

    def _fetch(self, request: Request, cancellation: Cancellation, job_files: JobFiles) -> Inputs:
        images: dict[str, PixelImage] = {}
        pixels_left = self.settings.input_max_pixels
        for name, source in request.images.items():
            images[name] = self._fetcher.fetch(name, source, cancellation, pixels_left)
            pixels_left -= images[name].width * images[name].height
        files = {}
        for name, source in request.files.items():
            media, extension = _expected_file(request.workflow, name)
            files[name] = job_files.fetch(name, source, media, extension, cancellation)
        return Inputs(images, files)


@dataclass(frozen=True)
class Inputs:
    """A job's images and files, by name; no name is in both."""

    images: Mapping[str, PixelImage]
    files: Mapping[str, InputFile]

    @property
    def by_name(self) -> Mapping[str, PixelImage | InputFile]:
        """All of them."""
        return {**self.images, **self.files}


def _expected_file(workflow: Workflow, name: str) -> tuple[Media, str]:
    """Return what a file is to be, and the extension of the one that the graph names."""
    declared = workflow.manifest.files[name]
    node = workflow.graph.nodes[declared.node]
    loader = declared.loader(node.class_type)
    named = None if loader is None else node.inputs.get(loader.input)
    return declared.media, extension_of(named)


def _encode(
    request: Request, patched: PatchedGraph, outputs: tuple[Output, ...]
) -> list[EncodedFile]:
    if request.shape == "worker-comfyui":
        outputs = tuple(output for output in outputs if not _is_preview(output, patched))
    elif not outputs:
        raise OutputError(
            f"The workflow {request.workflow.name} ran but made nothing. Its graph must end in an "
            "output node, such as SaveImage, whatever the parameters are."
        )
    metadata = {}
    if request.output.embed_workflow:
        metadata["prompt"] = json.dumps(patched.graph.to_api())
    encoded = [encode(output, request.output, metadata) for output in outputs]
    return with_filenames(outputs, encoded, patched.graph)


def _is_preview(output: Output, patched: PatchedGraph) -> bool:
    if isinstance(output, TextOutput):
        return False
    node = patched.graph.nodes.get(output.node_id)
    return node is not None and "Preview" in node.class_type


def _without_key(error: ServiceError, request: Request) -> ServiceError:
    """Take the caller's key out of what a node said of its failure."""
    key = request.comfy_org_api_key
    if key is not None and key.get_secret_value() in error.message:
        error.message = error.message.replace(key.get_secret_value(), "…")
    return error


def _success(request: Request, results: Results, clock: Clock, *, cold_start: bool) -> Success:
    phases = ("fetch", "validate", "queue", "run", "encode", "store")
    seconds = {phase: clock.seconds(phase) for phase in phases}
    return Success(
        job_id=request.job_id,
        given_id=request.job_id.given,
        workflow=request.workflow.name,
        workflow_version=request.workflow.manifest.version,
        seed=results.seed,
        outputs=list(results.outputs),
        reused=results.reused,
        warnings=list(results.warnings),
        shape=request.shape,
        timings=Timings.model_validate({**seconds, "total": clock.total()}),
        cold_start=cold_start,
    )


class _Reports:
    """Passes progress on until the job has ended: a node that was given up may still report."""

    def __init__(self, on_progress: OnJobProgress | None) -> None:
        self._on_progress = on_progress
        # Held while progress is passed on, so that none is under way once the end is noted. A
        # listener may cancel its job, which may report in turn.
        self._lock = threading.RLock()

    def __call__(self, progress: JobProgress) -> None:
        with self._lock:
            if self._on_progress is not None:
                self._on_progress(progress)

    def __enter__(self) -> OnJobProgress:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._on_progress = None


def _node_progress(report: OnJobProgress) -> OnProgress:
    def on_node(progress: Progress) -> None:
        report(
            JobProgress(
                phase="run",
                fraction=progress.fraction,
                node=progress.title,
                step=progress.step,
                steps=progress.steps,
                node_id=progress.node_id,
                class_type=progress.class_type,
                preview=progress.preview,
            )
        )

    return on_node
