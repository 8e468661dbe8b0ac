"""What ComfyUI's ``main.py`` does beside starting its server; ``docs/comfyui.md`` has the list.

Each step looks at what the release at hand has: its options, its functions and their parameters.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import itertools
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from comfyui_runtime.errors import BootError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

log = logging.getLogger(__name__)

_GIB = 1024**3
# main.py asks for as many; the devices beyond those that are there do no harm.
_MOST_DEVICES = 32
_OLDEST_TORCH_FOR_DYNAMIC_VRAM = (2, 8)
_AIMDO_LOG_LEVELS = {
    "DEBUG": ("set_log_debug",),
    "DETAIL": ("set_log_detail", "set_log_info"),
    "INFO": ("set_log_info",),
    "WARNING": ("set_log_warning",),
    "ERROR": ("set_log_error",),
    "CRITICAL": ("set_log_critical",),
}


def before_torch() -> None:
    """Do what must be done before torch is imported: DynamicVRAM's first half, the environment."""
    _init_dynamic_vram()
    # Not read by ComfyUI itself; it sets them for the sake of node packs.
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["DO_NOT_TRACK"] = "1"
    os.environ["TORCH_ROCM_AOTRITON_ENABLE_EXPERIMENTAL"] = "1"
    first = _option("default_device")
    if first is not None:
        others = [number for number in range(_MOST_DEVICES) if number != first]
        _show_devices(",".join(map(str, [first, *others])), "CUDA", "HIP")
    only = _option("cuda_device")
    if only is not None:
        _show_devices(str(only), "CUDA", "HIP", "ASCEND_RT")
    selector = _option("oneapi_device_selector")
    if selector is not None:
        os.environ["ONEAPI_DEVICE_SELECTOR"] = selector
    if _option("deterministic"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def add_extra_model_paths(comfyui_dir: Path) -> None:
    """Look for models and packs where ``extra_model_paths.yaml`` says, and the files of options.

    Raises:
        BootError: A file cannot be read, or is no such configuration.
    """
    beside_source = comfyui_dir / "extra_model_paths.yaml"
    asked_for = itertools.chain(*(_option("extra_model_paths_config") or ()))
    extra_config = importlib.import_module("utils.extra_config")
    for path in (*((str(beside_source),) if beside_source.is_file() else ()), *asked_for):
        try:
            extra_config.load_extra_path_config(path)
        except Exception as error:
            reason = str(error) or type(error).__name__
            raise BootError(
                f"The file of extra model paths, {path}, cannot be used: {reason}. Write it as "
                "ComfyUI's extra_model_paths.yaml.example shows, or take it out of COMFYUI_ARGS."
            ) from error


def enable_dynamic_vram() -> bool:
    """Do DynamicVRAM's second half, once ``comfy.model_management`` is imported.

    Returns:
        Whether it is on now. It is off without an NVIDIA GPU, where an option such as
        ``--highvram`` excludes it, and in releases that do not have it.
    """
    if not _wants_dynamic_vram():
        return False
    management = importlib.import_module("comfy.model_management")
    forced = bool(_option("enable_dynamic_vram"))
    if not forced:
        if not management.is_nvidia():
            return False
        if management.torch_version_numeric < _OLDEST_TORCH_FOR_DYNAMIC_VRAM:
            log.warning("DynamicVRAM needs torch 2.8 or newer; the older memory manager is used")
            return False
    control = importlib.import_module("comfy_aimdo.control")
    if not _init_devices(control, management):
        log.warning("DynamicVRAM does not start; the older memory manager is used")
        return False
    for name in _AIMDO_LOG_LEVELS.get(_console_log_level(), ("set_log_info",)):
        if hasattr(control, name):
            getattr(control, name)()
            break
    patcher: Any = importlib.import_module("comfy.model_patcher")
    memory: Any = importlib.import_module("comfy.memory_management")
    patcher.CoreModelPatcher = patcher.ModelPatcherDynamic
    memory.aimdo_enabled = True
    log.info("DynamicVRAM is on")
    return True


@contextlib.contextmanager
def importing_packs(comfyui_dir: Path) -> Iterator[None]:
    """Import node packs in here: what they may not change of ComfyUI is put back afterwards."""
    # Packs import ComfyUI's modules by names such as "ldm", without the package's.
    own_modules = str(comfyui_dir / "comfy")
    if own_modules not in sys.path:
        sys.path.insert(0, own_modules)
    hooks = _hook_breaker()
    if hooks is not None:
        hooks.save_functions()
    try:
        yield
    finally:
        management = importlib.import_module("comfy.model_management")
        if hasattr(management, "set_cudnn_benchmark"):
            management.set_cudnn_benchmark()
        if hooks is not None:
            hooks.restore_functions()


def _hook_breaker() -> Any | None:  # noqa: ANN401 - a module of ComfyUI's
    name = "hook_breaker_ac10a0"
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


def _option(name: str) -> Any:  # noqa: ANN401 - whatever the option holds
    """Return what an option was given; ``None`` where this release has no such option."""
    return getattr(importlib.import_module("comfy.cli_args").args, name, None)


def _show_devices(numbers: str, *kinds: str) -> None:
    for kind in kinds:
        os.environ[f"{kind}_VISIBLE_DEVICES"] = numbers


def _wants_dynamic_vram() -> bool:
    wanted = getattr(importlib.import_module("comfy.cli_args"), "enables_dynamic_vram", None)
    return wanted is not None and bool(wanted())


def _init_dynamic_vram() -> None:
    if not _wants_dynamic_vram():
        return
    reserved = _option("reserve_vram")
    settings = {
        "simple_vram_headroom": None if reserved is None else int(reserved * _GIB),
        "nvml_pressure": not _option("disable_nvml_pressure"),
    }
    # Options that came later than the release are not its to pass.
    if not _has_option("disable_nvml_pressure"):
        settings = {}
    init = importlib.import_module("comfy_aimdo.control").init
    init(**_known_to(init, settings))


def _has_option(name: str) -> bool:
    return hasattr(importlib.import_module("comfy.cli_args").args, name)


def _known_to(function: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    known = inspect.signature(function).parameters
    return {name: value for name, value in arguments.items() if name in known}


def _init_devices(control: Any, management: Any) -> bool:  # noqa: ANN401 - modules
    if not hasattr(control, "init_devices") or not hasattr(management, "get_all_torch_devices"):
        return bool(control.init_device(management.get_torch_device().index))
    devices = [device.index for device in management.get_all_torch_devices()]
    headroom = _option("vram_headroom")
    if headroom is not None:
        try:
            return bool(control.init_devices((index, int(headroom * _GIB)) for index in devices))
        except TypeError:
            log.debug("this comfy-aimdo takes no headroom for a device")
    return bool(control.init_devices(iter(devices)))


def _console_log_level() -> str:
    cli_args = importlib.import_module("comfy.cli_args")
    verbose = cli_args.args.verbose
    level = getattr(cli_args, "get_console_log_level", None)
    return str(verbose if level is None else level(verbose))
