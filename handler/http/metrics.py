"""What Prometheus scrapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from handler.contract.response import Success

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from comfyui_runtime.in_process.boot import BootReport
    from handler.contract.response import Response
    from handler.job.service import JobService

_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)


class Metrics:
    """The figures of one server.

    Args:
        jobs: Whose load is read at each scrape.
    """

    def __init__(self, jobs: JobService) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_LiveCollector(jobs))
        self._jobs = Counter(
            "comfyui_jobs",
            "Jobs that ended or were refused, by outcome: succeeded, or the error's code.",
            ["workflow", "code"],
            registry=registry,
        )
        self._phases = Histogram(
            "comfyui_job_phase_seconds",
            "Seconds of each phase of the jobs that succeeded.",
            ["workflow", "phase"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._boot = Gauge(
            "comfyui_boot_phase_seconds",
            "Seconds of each phase of ComfyUI's start.",
            ["phase"],
            registry=registry,
        )

    def booted(self, report: BootReport) -> None:
        """Take the figures of the start."""
        for phase, seconds in report.phases.items():
            self._boot.labels(phase).set(seconds)

    def ended(self, workflow: str, response: Response) -> None:
        """Count a job."""
        if not isinstance(response, Success):
            self.refused(workflow, response.error.code)
            return
        self._jobs.labels(workflow, response.status).inc()
        for phase, seconds in response.timings.model_dump(by_alias=True).items():
            self._phases.labels(workflow, phase).observe(seconds)

    def refused(self, workflow: str, code: str) -> None:
        """Count a job that failed, or was not taken."""
        self._jobs.labels(workflow, code).inc()


class _LiveCollector:
    def __init__(self, jobs: JobService) -> None:
        self._jobs = jobs

    def describe(self) -> Iterator[Metric]:
        """Return nothing: the names below are this collector's alone."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Return the figures of this moment."""
        load = self._jobs.load
        share = load.busy_seconds / load.uptime if load.uptime else 0.0
        yield GaugeMetricFamily("comfyui_jobs_waiting", "Jobs that wait.", load.waiting)
        yield GaugeMetricFamily("comfyui_jobs_running", "Jobs under way.", load.running)
        yield CounterMetricFamily(
            "comfyui_device_busy_seconds", "Seconds that the device has worked.", load.busy_seconds
        )
        yield GaugeMetricFamily(
            "comfyui_device_busy_share", "Share of the time since the start.", min(share, 1.0)
        )
        yield GaugeMetricFamily(
            "comfyui_ready", "Whether jobs can be run (0, 1).", self._jobs.stage == "running"
        )
        if load.models is not None:
            yield GaugeMetricFamily(
                "comfyui_models_kept", "Models kept after the last job.", load.models.count
            )
            yield GaugeMetricFamily(
                "comfyui_models_ram_bytes", "Memory that they take.", load.models.ram_bytes
            )
            yield GaugeMetricFamily(
                "comfyui_models_device_bytes",
                "Memory of the device that they take.",
                load.models.device_bytes,
            )
