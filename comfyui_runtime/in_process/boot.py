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
from comfyui_runtime.in_process.indexing import (
    IndexRecorder,
    can_record,
    eager_reason,
    find_index,
)
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
        node_packs: The packs below ``custom_nodes``, and those of further folders. One that is
            loaded on demand has taken no time yet.
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
            comfy.parse_arguments(comfy.command_line(options, web_root), options)
            comfy.before_torch()
            comfy.set_folders(options, scratch)
            comfy.add_extra_model_paths(options.comfyui_dir)
            nodes = _Nodes(options, source.version, runner, events)
            prestartup_errors = _run_prestartup_scripts()
        with phase("torch"):
            torch_version = comfy.import_torch(options.device)
        with phase("execution"):
            comfy.import_execution()
            comfy.enable_dynamic_vram()
        with phase("core_nodes"):
            failed_core = nodes.prepare_core()
            core = comfy.node_class_names()
            comfy.register_nodes(pictures)
        with phase("node_packs"):
            with comfy.importing_packs(options.comfyui_dir):
                packs = tuple(nodes.load_packs(core, prestartup_errors))
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


class _Nodes:
    """Node files and packs: left until they are asked for, or loaded at once and recorded."""

    def __init__(
        self,
        options: BootOptions,
        version: str,
        runner: comfy.LoopRunner,
        events: comfy.RunEvents,
    ) -> None:
        self._options = options
        self._runner = runner
        self._events = events
        self._packs = comfy.node_pack_paths()
        self._route_packs: list[Path] = []
        self._index = find_index(options, self._packs)
        self._recorder: IndexRecorder | None = None
        if self._index is not None:
            comfy.make_imports_lazy(events, self._route_packs)
        elif can_record(options):
            self._recorder = IndexRecorder(options, version, self._packs)

    def prepare_core(self) -> list[str]:
        """Return ComfyUI's node files that did not import, where they are loaded now."""
        api_nodes = self._options.api_nodes
        if self._index is not None:
            comfy.index_core_nodes(self._runner, self._index, api_nodes=api_nodes)
            return []
        comfy.make_server(self._events)
        failed = comfy.load_core_nodes(self._runner, api_nodes=api_nodes)
        if self._recorder is not None:
            self._recorder.core_loaded(failed)
        return failed

    def load_packs(
        self, core: frozenset[str], prestartup_errors: dict[str, str]
    ) -> Iterator[NodePack]:
        """Yield each pack once it is loaded or left until it is asked for."""
        for pack in self._packs:
            started = time.perf_counter()
            error = self._load_pack(pack, core) or prestartup_errors.get(pack.name)
            if error is not None:
                error += lacking_packages(pack, error)
            yield NodePack(pack.name, time.perf_counter() - started, error)
        if self._recorder is not None:
            self._recorder.write()

    def _load_pack(self, pack: Path, core: frozenset[str]) -> str | None:
        if self._recorder is not None:
            with self._recorder.loading(pack, self._runner) as reasons:
                error = comfy.load_node_pack(self._runner, pack, core)
                if error is not None:
                    reasons.append("its import failed")
            return error
        if self._index is None:
            return comfy.load_node_pack(self._runner, pack, core)
        reason = eager_reason(self._options, self._index, pack)
        if reason is not None:
            log.info("node pack is loaded at start", extra={"pack": pack.name, "reason": reason})
            return comfy.load_node_pack(self._runner, pack, core)
        entry = self._index.packs[pack.name]
        comfy.index_node_pack(pack, entry, core, self._loading_later)
        if entry.routes:
            self._route_packs.append(pack)
        return None

    @contextlib.contextmanager
    def _loading_later(self) -> Iterator[None]:
        with _caller_state_kept(), comfy.importing_packs(self._options.comfyui_dir):
            yield
        # For the kinds of models that the pack has registered.
        comfy.add_model_dirs(self._options.base_dir, self._options.model_dirs)


def _run_prestartup_scripts() -> dict[str, str]:
    errors: dict[str, str] = {}
    for pack in comfy.node_pack_paths():
        try:
            comfy.run_prestartup_script(pack)
        except Exception as error:
            log.exception("prestartup script failed", extra={"pack": pack.name})
            errors[pack.name] = f"prestartup_script.py: {str(error) or type(error).__name__}"
    return errors


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
