"""Runs workflows before the first job, so that models are loaded when it comes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from comfyui_runtime.errors import ServiceError
from comfyui_runtime.run.cancellation import Cancellation
from comfyui_runtime.run.model_files import ModelFolders
from comfyui_runtime.workflow.images import PixelImage
from comfyui_runtime.workflow.manifest import load_workflow
from comfyui_runtime.workflow.parameters import resolve_parameters
from comfyui_runtime.workflow.patch import patch

if TYPE_CHECKING:
    from pathlib import Path

    from comfyui_runtime.run.runtime import Runtime
    from comfyui_runtime.workflow.manifest import Workflow
    from handler.settings import Settings

log = logging.getLogger(__name__)

_SIDE = 1024


def workflows_to_warm_up(settings: Settings) -> list[Workflow]:
    """Return the workflows that the settings name.

    Raises:
        UnknownWorkflowError: One is not installed.
        WorkflowError: One's files are wrong.
    """
    return [load_workflow(settings.workflows_dir, name) for name in settings.warm_up_workflows]


def model_paths(settings: Settings, workflows: list[Workflow]) -> list[Path]:
    """Return the model files that workflows load with their defaults, as far as they are there."""
    folders = ModelFolders(settings.comfyui_base_dir / "models", settings.all_model_dirs)
    found = [
        folders.find(model)
        for workflow in workflows
        for model in workflow.manifest.models
        if not model.optional
    ]
    return list(dict.fromkeys(path for path in found if path is not None))


def warm_up(runtime: Runtime, workflows: list[Workflow], timeout: float) -> None:
    """Run each workflow once, with its defaults, on a generated picture.

    A workflow that fails is logged, and the worker starts all the same: its jobs end with the
    same error, which tells their callers more than a worker that never comes, and the other
    workflows work.

    Args:
        timeout: Seconds for each workflow.

    Raises:
        WorkerBrokenError: A node did not stop within the time limit; the worker is of no use.
    """
    picture = _picture()
    for workflow in workflows:
        if any(file.required for file in workflow.manifest.files.values()):
            # A video or a sound is the caller's: there is none to run it with.
            log.warning("warm-up left out", extra={"workflow": workflow.name})
            continue
        names = [name for name, image in workflow.manifest.images.items() if image.required]
        values = resolve_parameters(workflow.manifest.parameters, {})
        patched = patch(workflow, values, dict.fromkeys(names, picture))
        try:
            runtime.run(patched, Cancellation(timeout))
        except ServiceError as error:
            if runtime.broken:
                raise
            details = {"workflow": workflow.name, "code": error.code, "error": error.message}
            log.error("warm-up failed", extra=details)  # noqa: TRY400 - the message tells all


def _picture() -> PixelImage:
    """Return a picture with smooth and busy parts."""
    slope = np.linspace(0, 255, _SIDE)
    waves = 127 + 127 * np.sin(np.outer(slope, slope) / 200)
    channels = (np.tile(slope, (_SIDE, 1)), np.tile(slope[:, None], (1, _SIDE)), waves)
    return PixelImage(np.stack(channels, axis=-1).astype(np.uint8))
