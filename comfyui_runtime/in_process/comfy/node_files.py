"""ComfyUI's own node files and node packs, loaded and registered."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import logging
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfyui_runtime.in_process.comfy.lazy_classes import LazyNodeClasses
from comfyui_runtime.in_process.comfy.node_index import read_node_index

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from types import ModuleType


class LoopRunner:
    """Runs coroutines of ComfyUI's start-up; the loop never runs again afterwards."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - ComfyUI's own
        """Run a coroutine to its end."""
        return self.loop.run_until_complete(coroutine)

    def close(self) -> None:
        """Close the loop."""
        self.loop.close()


def load_core_nodes(runner: LoopRunner, *, api_nodes: bool) -> list[str]:
    """Load ``comfy_extras`` (and the API nodes); return the files that did not import."""
    nodes = importlib.import_module("nodes")
    runner.run(nodes.init_public_apis())
    failed = list(runner.run(nodes.init_builtin_extra_nodes()))
    if api_nodes:
        failed += runner.run(nodes.init_builtin_api_nodes())
    return failed


def is_indexed(version: str) -> bool:
    """Say whether there is an index of the node files of that release."""
    return read_node_index().comfyui_version == version


def index_core_nodes(runner: LoopRunner, *, api_nodes: bool) -> None:
    """Have the files of ``comfy_extras`` (and the API nodes) loaded when a class is asked for."""
    nodes: Any = importlib.import_module("nodes")
    runner.run(nodes.init_public_apis())
    # Replaced before anything but ComfyUI's own modules, which look it up by name, can hold it.
    nodes.NODE_CLASS_MAPPINGS = LazyNodeClasses(
        nodes.NODE_CLASS_MAPPINGS,
        read_node_index().files_by_class(api_nodes=api_nodes),
        _load_core_file,
    )


def _load_core_file(file: str) -> str | None:
    nodes: Any = importlib.import_module("nodes")
    path = Path(nodes.__file__).parent / file
    loading = nodes.load_custom_node(
        str(path), nodes.NODE_CLASS_MAPPINGS.loaded_names(), module_parent=path.parent.name
    )
    with _captured_warnings() as warnings, outside_inference():
        loaded = _run_to_end(loading)
    return None if loaded else _reason(warnings)


def register_nodes(module: ModuleType) -> None:
    """Register a module's node classes with ComfyUI."""
    nodes = importlib.import_module("nodes")
    nodes.NODE_CLASS_MAPPINGS.update(module.NODE_CLASS_MAPPINGS)
    nodes.NODE_DISPLAY_NAME_MAPPINGS.update(module.NODE_DISPLAY_NAME_MAPPINGS)


def run_prestartup_script(pack: Path) -> None:
    """Run a pack's ``prestartup_script.py`` where it has one; it may raise anything."""
    script = pack / "prestartup_script.py"
    if not script.is_file():
        return
    spec = importlib.util.spec_from_file_location(str(script.with_suffix("")), script)
    if spec is None or spec.loader is None:
        raise ImportError(f"{script} cannot be loaded")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def load_node_pack(runner: LoopRunner, pack: Path, core: frozenset[str]) -> str | None:
    """Load a node pack; return why it failed, or ``None``.

    Args:
        core: The classes that packs cannot replace: ComfyUI's own. Among packs the last one wins.
    """
    nodes = importlib.import_module("nodes")
    with _captured_warnings() as warnings:
        loaded = runner.run(nodes.load_custom_node(str(pack), core, module_parent="custom_nodes"))
    return None if loaded else _reason(warnings)


@contextlib.contextmanager
def _captured_warnings() -> Iterator[list[str]]:
    """Collect what ComfyUI logs as warnings, its only report of a pack's failure."""
    messages: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    collector = Collector(logging.WARNING)
    thread = threading.get_ident()
    collector.addFilter(lambda record: record.thread == thread)
    logging.getLogger().addHandler(collector)
    try:
        yield messages
    finally:
        logging.getLogger().removeHandler(collector)


def _reason(warnings: list[str]) -> str:
    if not warnings:
        return "ComfyUI gave no reason"
    reason = warnings[-1]
    if reason.endswith(": ") and len(warnings) > 1:
        # The exception says nothing; the traceback before it ends with its type.
        reason += warnings[-2].strip().rpartition("\n")[2]
    return reason


@contextlib.contextmanager
def outside_inference() -> Iterator[None]:
    """Leave inference mode, in which graphs run: what modules create must also allow training."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    with torch.inference_mode(mode=False):
        yield


def _run_to_end(coroutine: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - ComfyUI's own
    """Run a coroutine that waits for nothing, with or without a loop running in this thread."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise RuntimeError(f"{coroutine!r} waits for something; it needs an event loop.")
