"""The cold start: from settings to a function that takes events."""

from __future__ import annotations

import gc
import logging
import shlex
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from comfyui_runtime.in_process.boot import boot
from comfyui_runtime.in_process.options import BootOptions
from comfyui_runtime.in_process.read_ahead import ReadAhead
from comfyui_runtime.run.cancellation import Cancellation
from handler.assets import AssetStore
from handler.contract.errors import ConfigurationError
from handler.inputs import InputFetcher
from handler.job.graph_models import GraphModels
from handler.job.invoke import Function
from handler.job.kept import open_kept_results
from handler.job.put_addresses import PutAddresses
from handler.job.results import Delivery
from handler.job.volume_report import report_models_folders
from handler.job.warm_up import model_paths, warm_up, workflows_to_warm_up
from handler.models.by_url import UrlModels
from handler.models.fetching import ModelFetching
from handler.models.needed import needed_models
from handler.shelf import open_storage

if TYPE_CHECKING:
    from collections.abc import Callable

    from comfyui_runtime.in_process.boot import BootReport
    from comfyui_runtime.in_process.runtime import InProcessRuntime
    from comfyui_runtime.run.runtime import Runtime
    from handler.settings import Settings
    from handler.shelf import Shelf

log = logging.getLogger(__name__)


def start(
    settings: Settings,
    storage: Shelf | None = None,
    on_boot: Callable[[BootReport], None] | None = None,
) -> Function:
    """Boot ComfyUI in this process and return the function.

    Args:
        storage: Where results go; where the settings say, without one.
        on_boot: Called with the report of the start; not for a ComfyUI that runs elsewhere.

    Raises:
        BootError: ComfyUI could not be started.
        ConfigurationError: The storage's settings cannot work.
        ServerUnreachableError: The ComfyUI server that the settings name does not answer.
        WorkflowError: A workflow to warm up is not installed, or broken.
        WorkerBrokenError: A workflow to warm up did not end within its time limit.
    """
    storage = storage or open_storage(settings)
    if settings.network_volume_debug:
        report_models_folders(settings)
    models = None
    if settings.comfyui_server_url is not None:
        runtime: Runtime = server_runtime(settings.comfyui_server_url, settings.stop_grace)
    else:
        by_url = UrlModels(settings)
        by_url.make_folder()
        models = GraphModels(start_fetching(settings), by_url)
        runtime, report = _booted(settings, models.fetching)
        _log(report)
        if on_boot is not None:
            on_boot(report)
    # What was imported stays. Looking through all of it for garbage takes 0.1 s, between two jobs.
    gc.freeze()
    delivery = Delivery(
        storage, open_kept_results(settings), settings.stop_grace, PutAddresses(settings)
    )
    fetcher = InputFetcher(settings, assets=AssetStore(storage, settings.assets_kept_seconds))
    return Function(settings, runtime, fetcher, delivery, models)


def start_fetching(settings: Settings) -> ModelFetching | None:
    """Begin to fetch the models that are missing, if the settings say so.

    Raises:
        ConfigurationError: The list of models cannot be read.
        UnknownWorkflowError: A workflow of FETCH_WORKFLOWS is not installed.
        WorkflowError: The files of one are wrong.
    """
    if settings.fetch_models == "off":
        return None
    models = ModelFetching(settings, needed_models(settings))
    models.start()
    return models


def _booted(
    settings: Settings, models: ModelFetching | None
) -> tuple[InProcessRuntime, BootReport]:
    """Boot, and warm up; the models' bytes come into the page cache meanwhile."""
    workflows = workflows_to_warm_up(settings)
    read_ahead = ReadAhead(model_paths(settings, workflows))
    try:
        runtime, report = boot(boot_options(settings))
        started = time.perf_counter()
        if models is not None and workflows:
            names = [model.file for flow in workflows for model in flow.manifest.models]
            models.wait(names, Cancellation(settings.models_fetch_timeout))
        warm_up(runtime, workflows, settings.job_timeout)
    finally:
        read_ahead.stop()
    if not workflows:
        return runtime, report
    phases = {**report.phases, "warm_up": time.perf_counter() - started}
    return runtime, replace(report, phases=phases)


def server_runtime(url: str, stop_grace: float) -> Runtime:
    """Return the runtime on a ComfyUI server that answers.

    Raises:
        ConfigurationError: The packages that it needs are not installed.
        ServerUnreachableError: The server does not answer.
    """
    try:
        from comfyui_runtime.remote.runtime import ServerRuntime
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"COMFYUI_SERVER_URL needs the package {error.name}: pip install '.[server]'."
        ) from error
    runtime = ServerRuntime(url, stop_grace=stop_grace)
    log.info("graphs run on a server", extra={"comfyui": runtime.comfyui_version()})
    return runtime


def _log(report: BootReport) -> None:
    log.info(
        "booted",
        extra={
            "seconds": {phase: round(value, 3) for phase, value in report.phases.items()},
            "total_seconds": round(report.seconds, 3),
            "device": report.device,
            "comfyui": report.comfyui_version,
            "torch": report.torch_version,
            "node_classes": report.node_class_count,
            "failed_node_packs": {
                pack.name: pack.error for pack in report.node_packs if pack.error
            },
        },
    )


def boot_options(settings: Settings) -> BootOptions:
    """Return what the settings say about ComfyUI."""
    headroom = settings.cache_ram_headroom
    by_url = () if settings.url_cache_dir is None else (settings.url_cache_dir,)
    return BootOptions(
        comfyui_dir=settings.comfyui_dir,
        base_dir=settings.comfyui_base_dir,
        model_dirs=settings.all_model_dirs + by_url,
        node_dirs=settings.node_pack_dirs,
        device=settings.device,
        vram_mode=settings.vram_mode,
        cache_lru=settings.cache_lru,
        cache_models=settings.cache_models,
        cache_ram_headroom=None if headroom is None else round(headroom * 1024**3),
        previews=bool(settings.previews),
        api_nodes=settings.loads_api_nodes,
        stop_grace=settings.stop_grace,
        exit_when_stuck=True,
        lazy=settings.lazy,
        eager_packs=settings.eager_packs,
        extra_args=tuple(shlex.split(settings.comfyui_args)),
    )
