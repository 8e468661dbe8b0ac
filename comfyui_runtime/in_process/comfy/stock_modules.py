"""Modules that a stock start has imported, there for packs that use them without importing them.

``import comfy`` and then ``comfy.model_patcher`` works in ComfyUI because something else imported
that module long before. Where imports are lazy nothing may have: the packages import what they
are asked for. So it is with two node files that import each other and can be entered by one of them
only: in a stock start, which happens to enter by that one, both are there.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import PathFinder, SourceFileLoader
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from pathlib import Path
    from types import ModuleType


_NODE_FILES = "comfy_extras"


def offer_stock_modules(comfyui_dir: Path) -> None:
    """Have each of ComfyUI's packages give any of its modules as an attribute, from now on."""
    packages = frozenset(path.name for path in comfyui_dir.iterdir() if path.is_dir())
    sys.meta_path.insert(0, _PackageFinder(packages))
    for name in sorted(packages):
        # Those without code of their own; importing them costs nothing.
        if name.startswith("comfy") and not (comfyui_dir / name / "__init__.py").exists():
            _prepare(importlib.import_module(name))


class _PackageFinder(MetaPathFinder):
    """Sees each import below ComfyUI's packages, and prepares the package; finds node files."""

    def __init__(self, packages: frozenset[str]) -> None:
        self._packages = packages
        self._imported_anew: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        parent = fullname.rpartition(".")[0]
        if parent and fullname.partition(".")[0] in self._packages:
            _prepare(sys.modules[parent])
        if parent != _NODE_FILES:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _NodeFileLoader(spec.loader, self._imported_anew)
        return spec


class _NodeFileLoader(Loader):
    """Executes a node file; if one that it imports needs it in turn, enters by that one.

    Args:
        imported_anew: Names of the node files for which that is under way.
    """

    def __init__(self, loader: SourceFileLoader, imported_anew: set[str]) -> None:
        self._loader = loader
        self._imported_anew = imported_anew

    def exec_module(self, module: ModuleType) -> None:
        try:
            self._loader.exec_module(module)
        except ImportError as error:
            name, needs_it = module.__name__, _imports_while_executed(error)
            if error.name != name or needs_it in {None, name, *self._imported_anew}:
                raise
            # Imported anew, from there; the import system takes what stands under its name then.
            del sys.modules[name]
            self._imported_anew.add(name)
            try:
                importlib.import_module(str(needs_it))
            finally:
                self._imported_anew.discard(name)


def _imports_while_executed(error: ImportError) -> str | None:
    """Return the node file whose import statement failed."""
    trace = error.__traceback__
    name = None
    while trace is not None:
        found = str(trace.tb_frame.f_globals.get("__name__", ""))
        name = found if found.startswith(f"{_NODE_FILES}.") else name
        trace = trace.tb_next
    return name


def _prepare(package: ModuleType) -> None:
    if "__path__" in package.__dict__:
        package.__dict__.setdefault("__getattr__", _importer(package.__name__))


def _importer(package: str) -> Callable[[str], Any]:
    def import_named(name: str) -> Any:  # noqa: ANN401 - a module
        missing = f"module {package!r} has no attribute {name!r}"
        full = f"{package}.{name}"
        if name.startswith("__") or importlib.util.find_spec(full) is None:
            raise AttributeError(missing)
        try:
            module = importlib.import_module(full)
        except ImportError as error:
            raise AttributeError(f"{missing}: {error}") from error
        _prepare(module)
        return module

    return import_named
