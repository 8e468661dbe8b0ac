"""What the import of a node pack does beside defining classes: hooks, routes, patches.

A pack that does such a thing works on graphs that name none of its classes, so it cannot wait
until one of them is asked for.
"""

from __future__ import annotations

import builtins
import importlib
import os
import signal
import sys
from collections.abc import Mapping, Sized
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from comfyui_runtime.in_process.comfy.lazy_imports import is_pending

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What every pack adds to, and what only says where something was loaded from.
_TABLES = frozenset(
    {
        "nodes.NODE_CLASS_MAPPINGS",
        "nodes.NODE_DISPLAY_NAME_MAPPINGS",
        "nodes.EXTENSION_WEB_DIRS",
        "nodes.LOADED_MODULE_DIRS",
    }
)
_FOLDERS = "folder_paths.folder_names_and_paths"
# Caches, which fill by being used.
_CACHES = frozenset({"folder_paths.filename_list_cache", "folder_paths.cache_helper"})
_CACHE_MARKS = ("cache", "registry", "_lock")
# Changed by being used, not by being patched.
_OWN_STATE = frozenset({"warnings", "logging", "linecache", "threading", "signal", "sys", "gc"})
# Others' modules whose classes' methods packs replace.
_CLASSES_OF = frozenset({"torch", "torch.nn", "torch.nn.functional", "PIL.Image", "builtins"})

_State = dict[str, object]


@dataclass(frozen=True)
class Effects:
    """What an import did.

    Attributes:
        lasting: What works without the pack's classes, in words; ``None`` if nothing does.
        routes: Whether routes of ComfyUI's server were registered.
    """

    lasting: str | None
    routes: bool


class Observer:
    """Compares what there is before an import with what there is after it.

    Args:
        comfyui_dir: ComfyUI's source: of its modules every change counts; of others', functions
            and classes that are replaced.
    """

    def __init__(self, comfyui_dir: Path) -> None:
        self._comfyui_dir = f"{comfyui_dir}{os.sep}"
        self._before: _State = {}
        self._others: dict[str, dict[str, object]] = {}
        self._routes = 0

    def start(self) -> None:
        """Take down what there is."""
        self._before = dict(self._state())
        self._others = {name: dict(vars(module)) for name, module in self._modules(own=False)}
        self._routes = _route_count()

    def effects(self) -> Effects:
        """Say what has changed since :meth:`start`."""
        after = dict(self._state())
        changed = [
            name
            for name, value in self._before.items()
            if name in after and not _same(value, after[name])
        ]
        added = [name for name in after.keys() - self._before.keys() if self._may_not_appear(name)]
        names = [*sorted(changed), *sorted(added), *self._replaced()]
        self._before, self._others = {}, {}
        lasting = f"changes {', '.join(names[:3])}" if names else None
        return Effects(lasting, routes=_route_count() != self._routes)

    def _may_not_appear(self, name: str) -> bool:
        """Say whether something new is a patch: a new attribute of a class that was there."""
        module, _, attribute = name.partition(":")
        return "." in attribute and f"{module}:{attribute.partition('.')[0]}" in self._before

    def _replaced(self) -> Iterator[str]:
        """Yield the functions and classes of others' modules that are not what they were."""
        for name, module in self._modules(own=False):
            now = vars(module)
            for attribute, value in self._others.get(name, {}).items():
                if now.get(attribute, value) is value or not callable(value):
                    continue
                if not attribute.startswith("__"):
                    yield f"{name}:{attribute}"

    def _modules(self, *, own: bool) -> Iterator[tuple[str, ModuleType]]:
        """Yield modules with their names, either those of ComfyUI or those of others."""
        for name, module in list(sys.modules.items()):
            if not isinstance(module, ModuleType) or is_pending(name) or name in _OWN_STATE:
                continue
            file = module.__dict__.get("__file__")
            in_comfyui = isinstance(file, str) and file.startswith(self._comfyui_dir)
            if in_comfyui and own:
                if not str(file).startswith(f"{self._comfyui_dir}custom_nodes"):
                    yield name, module
            elif not in_comfyui and not own and not _is_path(name):
                yield name, module

    def _state(self) -> Iterator[tuple[str, object]]:
        exempt = set(_exempt())
        for name, module in self._modules(own=True):
            yield from _all_of(name, module, exempt)
        for name in _CLASSES_OF & sys.modules.keys():
            for attribute, value in list(vars(sys.modules[name]).items()):
                if isinstance(value, type):
                    yield from _members(f"{name}:{attribute}", value)
        yield from _process_state()


def _is_path(name: str) -> bool:
    """Say whether a module is a pack or a file of nodes: ComfyUI names them by their paths."""
    return "/" in name or "\\" in name


def _exempt() -> Iterator[int]:
    """Yield the ids of what may change: whatever name a module has imported it by."""
    for full in _TABLES | _CACHES | {_FOLDERS}:
        module, _, attribute = full.rpartition(".")
        if module in sys.modules:
            yield id(vars(sys.modules[module]).get(attribute))


def _all_of(
    name: str, module: ModuleType, exempt: AbstractSet[int]
) -> Iterator[tuple[str, object]]:
    for attribute, value in list(vars(module).items()):
        if f"{name}.{attribute}" == _FOLDERS:
            # Further kinds of folders do no harm; changes to those of ComfyUI's do.
            for kind, (paths, extensions) in dict(value).items():
                yield f"{name}:{kind}", (len(paths), len(extensions))
        elif not (
            attribute.startswith("__") or id(value) in exempt or isinstance(value, ModuleType)
        ):
            yield f"{name}:{attribute}", _mark(value)
            if isinstance(value, type) and value.__module__ == name:
                yield from _members(f"{name}:{attribute}", value)


def _members(name: str, owner: type) -> Iterator[tuple[str, object]]:
    for attribute, value in list(vars(owner).items()):
        if not (attribute.startswith("_abc_") or attribute in {"__dict__", "__weakref__"}):
            if any(mark in attribute.lower() for mark in _CACHE_MARKS):
                continue
            if attribute == "RELATIVE_PYTHON_MODULE":
                continue
            yield f"{name}.{attribute}", _mark(value)


def _mark(value: object) -> object:
    """Return what shows whether a value was replaced, or a container added to."""
    if isinstance(value, (list, dict, set, tuple)):
        return value, len(value)
    return value


def _same(before: object, after: object) -> bool:
    match before, after:
        case (first, int(length)), (second, int(other)):
            return first is second and length == other
    return before is after or (isinstance(before, (int, float, str, tuple)) and before == after)


def _process_state() -> Iterator[tuple[str, object]]:
    """Yield what an import must not change when it comes later, in a run."""
    for name, value in os.environ.items():
        yield f"os.environ:{name}", value
    for number in (signal.SIGINT, signal.SIGTERM):
        yield f"signal:{number.name}", signal.getsignal(number)
    yield "sys:excepthook", sys.excepthook
    yield "builtins:print", builtins.print
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        yield "torch:float32_matmul_precision", torch.get_float32_matmul_precision()
        yield "torch:default_dtype", torch.get_default_dtype()
        yield "torch:deterministic", torch.are_deterministic_algorithms_enabled()
        yield "torch:cudnn", (torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32)
        yield "torch:tf32", torch.backends.cuda.matmul.allow_tf32
    server = _server()
    if server is None:
        return
    yield "server:on_prompt_handlers", len(server.on_prompt_handlers)
    for name, value in vars(server).items():
        if callable(value):
            yield f"server:{name}", value
    replacements = getattr(getattr(server, "node_replace_manager", None), "_replacements", None)
    if isinstance(replacements, Mapping):
        yield "server:node_replacements", len(replacements)


def _route_count() -> int:
    server = _server()
    if server is None:
        return 0
    router = server.app.router
    counted: tuple[Sized, ...] = (server.routes, router.routes(), router.resources())
    return sum(len(part) for part in counted) + len(server.app.middlewares)


def _server() -> Any | None:  # noqa: ANN401 - a class of ComfyUI's
    if "server" not in sys.modules or is_pending("server"):
        return None
    return getattr(importlib.import_module("server").PromptServer, "instance", None)
