"""Modules that a stock start has imported, there for packs that use them without importing them.

``import comfy`` and then ``comfy.model_patcher`` works in ComfyUI because something else imported
that module long before. Where imports are lazy nothing may have: the packages import what they
are asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.abc import MetaPathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from pathlib import Path
    from types import ModuleType


def offer_stock_modules(comfyui_dir: Path) -> None:
    """Have each of ComfyUI's packages give any of its modules as an attribute, from now on."""
    packages = frozenset(path.name for path in comfyui_dir.iterdir() if path.is_dir())
    sys.meta_path.insert(0, _PackageFinder(packages))
    for name in sorted(packages):
        # Those without code of their own; importing them costs nothing.
        if name.startswith("comfy") and not (comfyui_dir / name / "__init__.py").exists():
            _prepare(importlib.import_module(name))


class _PackageFinder(MetaPathFinder):
    """Finds nothing; it sees each import below ComfyUI's packages, and prepares the package."""

    def __init__(self, packages: frozenset[str]) -> None:
        self._packages = packages

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        parent = fullname.rpartition(".")[0]
        if parent and fullname.partition(".")[0] in self._packages:
            _prepare(sys.modules[parent])
        return None


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
