"""The one object that every route asks: the jobs, and what only HTTP has around them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handler.http.body import BodyBudget
from handler.http.catalogue import Catalogue
from handler.http.metrics import Metrics
from handler.http.results import ResultLinks
from handler.job.service import JobService, Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from comfyui_runtime.errors import ServiceError
    from handler.job.invoke import Function
    from handler.settings import Settings

__all__ = ["Service", "Stage"]


class Service:
    """A server's state.

    Args:
        on_broken: Called when a job left the runtime unusable: the process must be replaced.
        jobs: Those of a process that has others beside the server's.
    """

    def __init__(
        self,
        settings: Settings,
        on_broken: Callable[[], None] = lambda: None,
        jobs: JobService | None = None,
    ) -> None:
        self.settings = settings
        self.jobs = jobs or JobService(settings, on_broken)
        self.catalogue = Catalogue(settings)
        self.links = ResultLinks(settings.api_token)
        self.metrics = Metrics(self.jobs)
        self.bodies = BodyBudget(settings.requests_max_bytes)
        self.jobs.observe(self.metrics)
        self.jobs.when_booted(self._take_node_classes)

    @property
    def stage(self) -> Stage:
        """Where the process is in its life."""
        return self.jobs.stage

    def booted(self, function: Function) -> None:
        """Take the function, and let the requests that waited for it proceed."""
        self.jobs.booted(function)

    def boot_failed(self, error: ServiceError) -> None:
        """Answer the requests that wait."""
        self.jobs.boot_failed(error)

    def stop(self) -> None:
        """Be not ready, and refuse new jobs, from now on."""
        self.jobs.stop()

    def close(self) -> None:
        """Let running jobs end within the grace period, and hand the others back."""
        self.jobs.close(self.settings.shutdown_grace)

    def check_room(self) -> None:
        """Return if a further job might be taken; see :meth:`JobService.check_room`."""
        self.jobs.check_room()

    def _take_node_classes(self, function: Function) -> None:
        node_classes = function.runtime.node_classes()
        if node_classes is not None:
            self.catalogue.set_node_classes(node_classes)
