"""The cold start: from settings to a function that takes events."""

from __future__ import annotations

import logging
import shlex
from typing import TYPE_CHECKING

from comfyui_runtime.boot import boot
from comfyui_runtime.options import BootOptions
from handler.deliver import Delivery
from handler.inputs import InputFetcher
from handler.invoke import Function
from handler.storage import open_kept_results, open_storage

if TYPE_CHECKING:
    from collections.abc import Callable

    from comfyui_runtime.boot import BootReport
    from handler.settings import Settings
    from handler.storage import Storage

log = logging.getLogger(__name__)


def start(
    settings: Settings,
    storage: Storage | None = None,
    on_boot: Callable[[BootReport], None] | None = None,
) -> Function:
    """Boot ComfyUI in this process and return the function.

    Args:
        storage: Where results go; where the settings say, without one.
        on_boot: Called with the report of the start.

    Raises:
        BootError: ComfyUI could not be started.
        ConfigurationError: The storage's settings cannot work.
    """
    storage = storage or open_storage(settings)
    runtime, report = boot(boot_options(settings))
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
    if on_boot is not None:
        on_boot(report)
    delivery = Delivery(storage, open_kept_results(settings))
    return Function(settings, runtime, InputFetcher(settings), delivery)


def boot_options(settings: Settings) -> BootOptions:
    """Return what the settings say about ComfyUI."""
    return BootOptions(
        comfyui_dir=settings.comfyui_dir,
        base_dir=settings.comfyui_base_dir,
        model_dirs=settings.model_dirs,
        device=settings.device,
        vram_mode=settings.vram_mode,
        cache_lru=settings.cache_lru,
        previews=bool(settings.previews),
        api_nodes=settings.api_nodes,
        stop_grace=settings.stop_grace,
        extra_args=tuple(shlex.split(settings.comfyui_args)),
    )
