"""Modal: what one of its containers holds, before and after its memory is snapshotted.

Sources: modal.com/docs/guide/memory-snapshots (no GPU can be seen before the snapshot, and what was
imported by then is in it) and modal.com/docs/guide/concurrent-inputs (several inputs in one
container). The classes and decorators themselves are in ``deploy/modal_app.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from typing import TYPE_CHECKING, Any

from comfyui_runtime.errors import ServiceError
from comfyui_runtime.in_process.descriptors import guard_descriptors
from handler.contract.answer import answer_of
from handler.contract.job_id import job_id_of
from handler.contract.response import failure
from handler.contract.worker_comfyui import shape_of
from handler.job.service import JobService
from handler.job.start import start
from handler.log import configure_logging
from handler.machine_paths import without_paths
from handler.webhooks import open_webhooks

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI

    from handler.settings import Settings

# What the start and the first job import, and what touches no GPU when imported. All of it is
# several seconds' work, which a container restored from a snapshot has behind it.
IMPORTED_AHEAD = (
    "torch",
    "torchvision",
    "transformers.modeling_utils",
    "safetensors.torch",
    "scipy.stats",
    "boto3",
    "PIL.Image",
    "handler.http.app",
)


def import_ahead() -> None:
    """Import what can be before there is a GPU. ComfyUI is not: it looks for the GPU at import."""
    for name in IMPORTED_AHEAD:
        importlib.import_module(name)


class ModalContainer:
    """A started container. Events come by method call and over HTTP, into one job pool.

    Args:
        on_broken: Called when a job left the runtime unusable: the container must take no more.

    Raises:
        BootError: ComfyUI could not be started.
        ConfigurationError: A setting cannot work.
    """

    def __init__(self, settings: Settings, on_broken: Callable[[], None]) -> None:
        guard_descriptors()
        configure_logging(settings)
        self._settings = settings
        self._jobs = JobService(settings, on_broken, webhooks=open_webhooks(settings))
        self._jobs.booted(start(settings))
        self._apis = contextlib.ExitStack()

    async def invoke(self, event: object) -> dict[str, Any]:
        """Carry out one event and return its response as JSON data; a failure is one too.

        An input that is cancelled (``FunctionCall.cancel``) cancels its job.
        """
        job_id = job_id_of(event)
        try:
            job = await self._jobs.submit(event, job_id, detached=True)
        except ServiceError as error:
            refused = failure(job_id, without_paths(error, self._settings))
            return answer_of(refused.shaped(shape_of(event)))
        try:
            response = await asyncio.shield(asyncio.wrap_future(job.future))
        except asyncio.CancelledError:
            job.cancel()
            raise
        return answer_of(response)

    def web(self) -> FastAPI:
        """Return the HTTP service around the same pool."""
        from handler.api_v2 import open_api_v2
        from handler.http.app import make_app
        from handler.http.server import served_storage
        from handler.http.service import Service
        from handler.platforms.http_platforms import platform_routers

        # Only Modal's router reaches a container, under whatever name.
        settings = self._settings.model_copy(update={"allowed_hosts": frozenset({"*"})})
        service = Service(settings, jobs=self._jobs)
        api = open_api_v2(service, served_storage(settings, service))
        self._apis.callback(api.close)
        return make_app(service, platform_routers(), [api])

    def close(self) -> None:
        """Let running jobs end and hand the others back."""
        self._jobs.close(self._settings.shutdown_grace)
        self._apis.close()
