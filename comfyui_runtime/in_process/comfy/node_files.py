"""ComfyUI's own node files and node packs, loaded and registered."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import importlib.util
import logging
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfyui_runtime.in_process.comfy.lazy_classes import LazyNodeClasses

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
    from contextlib import AbstractContextManager
    from types import ModuleType

    from comfyui_runtime.in_process.comfy.node_index import IndexedPack, NodeIndex

    Around = Callable[[], AbstractContextManager[object]]

log = logging.getLogger(__name__)


class LoopRunner:
    """Runs coroutines of ComfyUI's start-up; the loop never runs again afterwards.

    Attributes:
        waits: How often they have waited for something so far.
    """

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.waits = 0

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - ComfyUI's own
        """Run a coroutine to its end."""
        return self.loop.run_until_complete(self._watched(coroutine))

    async def _watched(self, coroutine: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - ComfyUI's own
        return await _Watched(coroutine, self)

    def close(self) -> None:
        """Close the loop."""
        self.loop.close()


class _Watched:
    """A coroutine whose waiting is counted."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], runner: LoopRunner) -> None:
        self._coroutine = coroutine
        self._runner = runner

    def __await__(self) -> Generator[Any, Any, Any]:
        waiting = self._coroutine.__await__()
        sent: Any = None
        while True:
            try:
                asked = waiting.send(sent)
            except StopIteration as stop:
                return stop.value
            self._runner.waits += 1
            sent = yield asked


def load_core_nodes(runner: LoopRunner, *, api_nodes: bool) -> list[str]:
    """Load ``comfy_extras`` (and the API nodes); return the files that did not import."""
    nodes = importlib.import_module("nodes")
    runner.run(nodes.init_public_apis())
    failed = list(runner.run(nodes.init_builtin_extra_nodes()))
    if api_nodes:
        failed += runner.run(nodes.init_builtin_api_nodes())
    return failed


def index_core_nodes(runner: LoopRunner, index: NodeIndex, *, api_nodes: bool) -> None:
    """Have the files of ``comfy_extras`` (and the API nodes) loaded when a class is asked for."""
    nodes: Any = importlib.import_module("nodes")
    runner.run(nodes.init_public_apis())
    # Replaced before anything but ComfyUI's own modules, which look it up by name, can hold it.
    table = nodes.NODE_CLASS_MAPPINGS = LazyNodeClasses(nodes.NODE_CLASS_MAPPINGS)
    for file, class_types in index.core_files(api_nodes=api_nodes).items():
        table.offer(file, class_types, functools.partial(_load_core_file, file))


def index_node_pack(
    pack: Path, entry: IndexedPack, core: frozenset[str], around: Around | None = None
) -> None:
    """Have a node pack loaded when one of its classes is asked for.

    Args:
        core: As for :func:`load_node_pack`.
        around: Creates the context in which it is loaded.
    """
    load = functools.partial(_load_pack_later, pack, core, around or contextlib.nullcontext)
    _table().offer(str(pack), entry.classes, load)


def load_packs_when_routes_are_asked_for(packs: Sequence[Path]) -> None:
    """Have packs loaded when someone looks through the routes of ComfyUI's server.

    Nothing listens here, so nobody does as a rule.
    """
    base: Any = importlib.import_module("aiohttp.web").RouteTableDef

    class LazyRoutes(base):  # type: ignore[misc]
        """The server's table of routes; adding to it loads nothing."""

        def _complete(self) -> None:
            for pack in packs:
                _table().load_source(str(pack))

        def __iter__(self) -> Iterator[Any]:
            self._complete()
            return iter(super().__iter__())

        def __len__(self) -> int:
            self._complete()
            return int(super().__len__())

        def __getitem__(self, index: Any) -> Any:  # noqa: ANN401 - int or slice
            self._complete()
            return super().__getitem__(index)

    importlib.import_module("server").PromptServer.instance.routes.__class__ = LazyRoutes


def _table() -> LazyNodeClasses:
    table: LazyNodeClasses = importlib.import_module("nodes").NODE_CLASS_MAPPINGS
    return table


def _load_core_file(file: str) -> str | None:
    nodes: Any = importlib.import_module("nodes")
    path = Path(nodes.__file__).parent / file
    load = functools.partial(_load_now, path, path.parent.name)
    problem = load()
    if problem is None:
        return None
    # Two files that import each other can be entered by one of them only; ComfyUI happens to load
    # that one first. Under its package's name a file can be entered by either.
    with contextlib.suppress(Exception), outside_inference():
        importlib.import_module(f"{path.parent.name}.{path.stem}")
        problem = load()
    if problem is not None:
        log.warning("node file failed", extra={"file": file, "reason": problem})
    return problem


def _load_pack_later(pack: Path, core: frozenset[str], around: Around) -> str | None:
    load = functools.partial(_load_now, pack, "custom_nodes", core, around)
    problem = load()
    if problem is None:
        return None
    # It was seen to load: it may need what an earlier pack does when it is imported.
    for source in _table().sources():
        if source == str(pack):
            break
        if Path(source).is_absolute():
            _table().load_source(source)
    problem = load()
    if problem is not None:
        log.error("node pack failed", extra={"pack": pack.name, "reason": problem})
    return problem


def _load_now(
    path: Path,
    parent: str,
    core: frozenset[str] = frozenset(),
    around: Around = contextlib.nullcontext,
) -> str | None:
    nodes: Any = importlib.import_module("nodes")
    loading = nodes.load_custom_node(str(path), core, module_parent=parent)
    with _captured_warnings(silent=True) as warnings, outside_inference(), around():
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
def _captured_warnings(*, silent: bool = False) -> Iterator[list[str]]:
    """Collect what ComfyUI logs as warnings, its only report of a pack's failure.

    Args:
        silent: Whether they are kept from the log: a failure that may be mended by a second try.
    """
    messages: list[str] = []
    thread = threading.get_ident()
    root = logging.getLogger()
    if silent:

        def collect(record: logging.LogRecord) -> bool:
            if record.thread != thread or record.levelno < logging.WARNING:
                return True
            messages.append(record.getMessage())
            return False

        root.addFilter(collect)
        try:
            yield messages
        finally:
            root.removeFilter(collect)
        return

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    collector = Collector(logging.WARNING)
    collector.addFilter(lambda record: record.thread == thread)
    root.addHandler(collector)
    try:
        yield messages
    finally:
        root.removeHandler(collector)


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
        asyncio.get_running_loop()
    except RuntimeError:
        # Packs ask for the loop that runs in a stock start.
        return asyncio.run(coroutine)
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise RuntimeError(f"{coroutine!r} waits for something; it needs an event loop.")
