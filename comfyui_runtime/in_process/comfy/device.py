"""Torch and the device that graphs run on."""

from __future__ import annotations

import gc
import importlib

from comfyui_runtime.errors import NoGpuError


def import_torch(device: str) -> str:
    """Import torch, with the allocator that ComfyUI chooses, and return its version.

    Raises:
        NoGpuError: ``device`` is ``cuda`` and torch sees no GPU.
    """
    if device == "cuda":
        importlib.import_module("cuda_malloc")
    torch = importlib.import_module("torch")
    if device == "cuda" and not torch.cuda.is_available():
        raise NoGpuError(
            "No CUDA GPU is visible to this worker. Give it one (--gpus all, or the platform's GPU "
            "setting) and check that the driver fits CUDA "
            f"{torch.version.cuda}, or set COMFYUI_DEVICE=cpu to run on the CPU."
        )
    return str(torch.__version__)


def free_memory() -> None:
    """Collect garbage and give the allocator's unused blocks back to the device."""
    gc.collect()
    importlib.import_module("comfy.model_management").soft_empty_cache()


def unload_models() -> None:
    """Take every model off the device: releases know only some forms of out-of-memory as one."""
    importlib.import_module("comfy.model_management").unload_all_models()
    free_memory()


def device_name() -> str:
    """Return the name of the device that graphs run on."""
    management = importlib.import_module("comfy.model_management")
    return str(management.get_torch_device_name(management.get_torch_device()))
