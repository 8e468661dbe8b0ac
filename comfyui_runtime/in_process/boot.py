"""Starts ComfyUI in the calling process, once, without opening a port."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
import sys
import threading
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from comfyui_runtime.errors import BootError
from comfyui_runtime.in_process import comfy
from comfyui_runtime.in_process.comfy import pictures
from comfyui_runtime.in_process.lacking_packages import lacking_packages
from comfyui_runtime.in_process.ram import available_ram, total_ram
from comfyui_runtime.in_process.runtime import InProcessRuntime
from comfyui_runtime.in_process.scratch import make_scratch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from comfyui_runtime.in_process.options import BootOptions

log = logging.getLogger(__name__)

_HEADROOM = (2 * 1024**3, 10 * 1024**3)  # ComfyUI's own bounds

_booted = threading.Lock()


@dataclass(frozen=True)
class NodePack:
    """A node pack that was found, and how its import went.

    Attributes:
        seconds: How long the import took.
        error: Why it failed, or ``None``.
    """

    name: str
    seconds: float
    error: str | None


@dataclass(frozen=True)
class BootReport:
    """How the start went.

    Attributes:
        phases: Seconds by phase, in order.
        node_packs: The packs below ``custom_nodes``, and those of further folders.
        failed_core_files: ComfyUI's own node files that did not import; none where they are
            loaded on demand.
        node_class_count: Node classes that graphs can name.
        device: Name of the device that graphs run on.
    """

    phases: dict[str, float]
    node_packs: tuple[NodePack, ...]
    failed_core_files: tuple[str, ...]
    node_class_count: int
    device: str
    comfyui_version: str
    torch_version: str

    @property
    def seconds(self) -> float:
        """Seconds of all phases."""
        return sum(self.phases.values())


class _Phases:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started


def boot(options: BootOptions) -> tuple[InProcessRuntime, BootReport]:
    """Start ComfyUI in this process. Works once per process, outside any running event loop.

    Restores ``sys.argv``, the working directory, logging handlers and levels, and signal handlers
    afterwards.

    Raises:
        NoGpuError: A GPU is required and none is visible.
        BootError: There is no usable ComfyUI, or it was started in this process before.
    """
    if not _booted.acquire(blocking=False):
        raise BootError("ComfyUI already runs in this process; it can be started only once.")
    scratch = make_scratch()
    try:
        with _caller_state_kept():
            runtime, report = _boot(options, scratch.folder)
    except BaseException:
        scratch.remove()
        raise
    weakref.finalize(runtime, scratch.remove)
    for pack in report.node_packs:
        if pack.error:
            log.error("node pack failed", extra={"pack": pack.name, "reason": pack.error})
    return runtime, report


def _boot(options: BootOptions, scratch: Path) -> tuple[InProcessRuntime, BootReport]:
    phase = _Phases()
    source = comfy.check_source(options.comfyui_dir)
    if not source.proved:
        log.warning(
            "this ComfyUI is newer than those proved here: it starts eagerly",
            extra={"comfyui": source.version},
        )
        options = dataclasses.replace(options, lazy=False)
    web_root = scratch / "web"
    web_root.mkdir()
    for name in ("models", "custom_nodes"):
        (options.base_dir / name).mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(options.comfyui_dir))
    runner = comfy.LoopRunner()
    events = comfy.RunEvents()
    try:
        with phase("options"):
            comfy.offer_stock_modules(options.comfyui_dir)
            if options.lazy:
                comfy.make_imports_lazy(events)
            comfy.parse_arguments(comfy.command_line(options, web_root), options)
            comfy.before_torch()
            comfy.set_folders(options, scratch)
            comfy.add_extra_model_paths(options.comfyui_dir)
            prestartup_errors = _run_prestartup_scripts()
        with phase("torch"):
            torch_version = comfy.import_torch(options.device)
        with phase("execution"):
            comfy.import_execution()
            comfy.enable_dynamic_vram()
        with phase("core_nodes"):
            failed_core = _prepare_core_nodes(options, source.version, runner, events)
            comfy.register_nodes(pictures)
        with phase("node_packs"):
            with comfy.importing_packs(options.comfyui_dir):
                packs = tuple(_load_packs(runner, prestartup_errors))
            comfy.add_model_dirs(options.base_dir, options.model_dirs)
    finally:
        runner.close()
    executor = comfy.make_executor(events, options.cache_lru, _memory(options))
    runtime = InProcessRuntime(
        events, executor, scratch, options.stop_grace, exit_when_stuck=options.exit_when_stuck
    )
    report = BootReport(
        phases=phase.seconds,
        node_packs=packs,
        failed_core_files=tuple(failed_core),
        node_class_count=len(comfy.node_class_names()),
        device=comfy.device_name(),
        comfyui_version=source.version,
        torch_version=torch_version,
    )
    return runtime, report


def _memory(options: BootOptions) -> comfy.Memory | None:
    if not options.cache_models:
        return None
    headroom = options.cache_ram_headroom
    if headroom is None:
        least, most = _HEADROOM
        headroom = min(most, max(least, total_ram() // 10))
    return comfy.Memory(available_ram, headroom)


def _prepare_core_nodes(
    options: BootOptions, version: str, runner: comfy.LoopRunner, events: comfy.RunEvents
) -> list[str]:
    if options.lazy and comfy.is_indexed(version):
        comfy.index_core_nodes(runner, api_nodes=options.api_nodes)
        return []
    comfy.make_server(events)
    return comfy.load_core_nodes(runner, api_nodes=options.api_nodes)


def _run_prestartup_scripts() -> dict[str, str]:
    errors: dict[str, str] = {}
    for pack in comfy.node_pack_paths():
        try:
            comfy.run_prestartup_script(pack)
        except Exception as error:
            log.exception("prestartup script failed", extra={"pack": pack.name})
            errors[pack.name] = f"prestartup_script.py: {str(error) or type(error).__name__}"
    return errors


def _load_packs(runner: comfy.LoopRunner, prestartup_errors: dict[str, str]) -> Iterator[NodePack]:
    core = comfy.node_class_names()
    for pack in comfy.node_pack_paths():
        started = time.perf_counter()
        error = comfy.load_node_pack(runner, pack, core) or prestartup_errors.get(pack.name)
        if error is not None:
            error += lacking_packages(pack, error)
        yield NodePack(pack.name, time.perf_counter() - started, error)


@contextlib.contextmanager
def _caller_state_kept() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    argv, folder, hook = list(sys.argv), Path.cwd(), sys.excepthook
    signals = _signal_handlers()
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        sys.argv[:] = argv
        sys.excepthook = hook
        os.chdir(folder)
        if threading.current_thread() is threading.main_thread():
            for number, handler in signals.items():
                if signal.getsignal(number) is not handler:
                    signal.signal(number, handler)


def _signal_handlers() -> dict[signal.Signals, signal.Handlers | _Handler]:
    kept = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        handler = signal.getsignal(number)
        if handler is not None:
            kept[number] = handler
    return kept


if TYPE_CHECKING:
    from collections.abc import Callable

    _Handler = Callable[[int, FrameType | None], object] | int
