"""The function itself: ``invoke(event) -> response``, the only place with the steps' order."""

from __future__ import annotations

import json
import logging
import threading
from typing import TYPE_CHECKING

from comfyui_runtime.errors import ServiceError
from comfyui_runtime.run.cancellation import Cancellation
from comfyui_runtime.workflow.patch import patch
from handler.contract.errors import InternalError, OutputError
from handler.contract.event import parse_event
from handler.contract.progress import JobProgress
from handler.contract.response import Success, Timings, failure
from handler.job.clock import Clock
from handler.job.encode import encode
from handler.job.request import job_id_of, validate_request
from handler.log import job_context

if TYPE_CHECKING:
    from comfyui_runtime.run.outputs import Output
    from comfyui_runtime.run.progress import OnProgress, Progress
    from comfyui_runtime.run.runtime import Runtime
    from comfyui_runtime.workflow.images import PixelImage
    from comfyui_runtime.workflow.patch import PatchedGraph
    from handler.contract.progress import OnJobProgress
    from handler.contract.response import Response
    from handler.inputs import InputFetcher
    from handler.job.encode import EncodedFile
    from handler.job.request import Request
    from handler.job.results import Delivery, Results
    from handler.settings import Settings

log = logging.getLogger(__name__)


class Function:
    """A booted function. Safe from several threads; at most one job is on the device at a time.

    Args:
        runtime: Runs the graphs.
        fetcher: Gets the callers' images.
        delivery: Hands the results over.
    """

    def __init__(
        self, settings: Settings, runtime: Runtime, fetcher: InputFetcher, delivery: Delivery
    ) -> None:
        self.settings = settings
        self.runtime = runtime
        self._fetcher = fetcher
        self._delivery = delivery
        self._first_job = threading.Lock()

    def new_cancellation(self) -> Cancellation:
        """Return a cancellation with the time limit that the settings give a job."""
        return Cancellation(self.settings.job_timeout)

    def invoke(
        self,
        event: object,
        cancellation: Cancellation | None = None,
        on_progress: OnJobProgress | None = None,
        job_id: str | None = None,
    ) -> Response:
        """Carry out one event. Never raises: whatever goes wrong is a ``Failure``.

        Args:
            event: Decoded JSON; see :mod:`handler.contract.event`.
            cancellation: To stop the job from another thread; made here where it is not given.
            on_progress: Called on several threads, one after the other; it must return at once.
            job_id: The job's id; the event's own where it is not given.
        """
        job_id = job_id or job_id_of(event)
        cold_start = self._first_job.acquire(blocking=False)
        with job_context(job_id):
            # The one boundary: every failure leaves as a response.
            try:
                response = self._carry_out(
                    event,
                    job_id,
                    cancellation or self.new_cancellation(),
                    on_progress or _ignore,
                    cold_start=cold_start,
                )
            except ServiceError as error:
                log.warning("job failed", extra={"code": error.code, "error": error.message})
                return failure(job_id, error, replace_worker=self.runtime.broken)
            except Exception:
                log.exception("job failed", extra={"code": InternalError.code})
                internal = InternalError(
                    "The worker failed in a way it should not. Its log tells the cause under the "
                    f"job id {job_id}."
                )
                return failure(job_id, internal, replace_worker=self.runtime.broken)
            log.info("job done", extra={"seconds": response.timings.model_dump(by_alias=True)})
            return response

    def _carry_out(
        self,
        event: object,
        job_id: str,
        cancellation: Cancellation,
        on_progress: OnJobProgress,
        *,
        cold_start: bool,
    ) -> Success:
        cancellation.check()
        clock = Clock()
        with clock.phase("validate"):
            request = validate_request(parse_event(event), job_id, self.settings.workflows_dir)
        kept = self._delivery.deliver_kept(request)
        if kept is not None:
            return _success(request, kept, clock, cold_start=cold_start)
        on_progress(JobProgress("fetch"))
        with clock.phase("fetch"):
            images = self._fetch(request, cancellation)
        same = self._delivery.deliver_same(request, images)
        if same is not None:
            return _success(request, same, clock, cold_start=cold_start)
        patched = patch(request.workflow, request.values, images)
        result = self.runtime.run(patched, cancellation, _node_progress(on_progress))
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
        on_progress(JobProgress("encode", 1.0))
        with clock.phase("encode"):
            encoded = _encode(request, patched, result.outputs)
        on_progress(JobProgress("store", 1.0))
        with clock.phase("store"):
            results = self._delivery.deliver(request, images, encoded)
        return _success(request, results, clock, cold_start=cold_start)

    def _fetch(self, request: Request, cancellation: Cancellation) -> dict[str, PixelImage]:
        return {
            name: self._fetcher.fetch(name, source, cancellation)
            for name, source in request.images.items()
        }


def _encode(
    request: Request, patched: PatchedGraph, outputs: tuple[Output, ...]
) -> list[EncodedFile]:
    if not outputs:
        raise OutputError(
            f"The workflow {request.workflow.name} ran but made no file. Its graph must end in an "
            "output node, such as SaveImage, whatever the parameters are."
        )
    metadata = {}
    if request.output.embed_workflow:
        metadata["prompt"] = json.dumps(patched.graph.to_api())
    return [encode(output, request.output, metadata) for output in outputs]


def _success(request: Request, results: Results, clock: Clock, *, cold_start: bool) -> Success:
    phases = ("fetch", "validate", "queue", "run", "encode", "store")
    seconds = {phase: clock.seconds(phase) for phase in phases}
    return Success(
        job_id=request.job_id,
        workflow=request.workflow.name,
        workflow_version=request.workflow.manifest.version,
        seed=results.seed,
        outputs=list(results.outputs),
        reused=results.reused,
        warnings=list(results.warnings),
        timings=Timings.model_validate({**seconds, "total": clock.total()}),
        cold_start=cold_start,
    )


def _node_progress(on_progress: OnJobProgress) -> OnProgress:
    def report(progress: Progress) -> None:
        on_progress(
            JobProgress(
                "run",
                progress.fraction,
                progress.title,
                progress.step,
                progress.steps,
                progress.preview,
            )
        )

    return report


def _ignore(_: JobProgress) -> None:
    pass
