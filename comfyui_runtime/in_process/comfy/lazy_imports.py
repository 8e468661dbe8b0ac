"""Modules that are imported at once but executed only at their first use.

Python's own ``importlib.util.LazyLoader`` is not used: before Python 3.12.3 two threads that use a
module for the first time can both execute it or see half of it
(https://github.com/python/cpython/issues/114763), and it executes a package as soon as one of its
submodules is named.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

# One lock for all: two threads that need each other's module cannot wait for each other.
_lock = threading.RLock()
# What the import system asks a module that it has not executed.
_ASKED_BY_IMPORTS = frozenset({"__path__", "__file__", "__cached__"})


class LazyImports(MetaPathFinder):
    """Makes modules lazy from :meth:`install` on; those imported before stay as they are.

    A module that is not installed fails where it is imported, as always. One that fails while it
    is executed fails at each use.

    Args:
        names: Full names of the modules. Importing another module below a named package executes
            the package, as always.
        around: Creates the context in which a module is executed.
        after: By module name: called once that module has been executed.
        called_later: By module name: what another module takes by name while it is imported, and
            only calls, later; with that module's name. Taking it executes nothing; calling it does.
    """

    def __init__(
        self,
        names: Iterable[str],
        around: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext,
        after: Mapping[str, Callable[[], object]] | None = None,
        called_later: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.names = frozenset(names)
        self.around = around
        self.after = after or {}
        self.called_later = called_later or {}

    def install(self) -> None:
        """Take effect, for the rest of the process."""
        sys.meta_path.insert(0, self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a named module, as Python's own finder does."""
        if fullname not in self.names:
            return _execute_package_of(fullname)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _LazyLoader(self, spec.loader)
        return spec


def is_pending(name: str) -> bool:
    """Say whether a module was imported and not executed yet."""
    return _is_pending(sys.modules.get(name))


class _LazyLoader(Loader):
    def __init__(self, imports: LazyImports, loader: SourceFileLoader) -> None:
        self._imports = imports
        self._loader = loader

    def exec_module(self, module: ModuleType) -> None:
        """Leave the module as it is until it is used."""
        module.__class__ = _PendingModule

    def is_lazy(self, name: str) -> bool:
        """Say whether a module of that name is lazy too."""
        return name in self._imports.names

    def is_called_later(self, module: str, name: str, taker: object) -> bool:
        """Say whether the module that takes an attribute only calls it, and later."""
        return self._imports.called_later.get(module, {}).get(name) == taker

    def execute(self, module: ModuleType) -> None:
        """Execute a pending module, and before it the packages above it. Needs the lock."""
        parent = sys.modules.get(module.__name__.rpartition(".")[0])
        if parent is not None:
            _execute(parent)
        if not _is_pending(module):
            return
        _set_loader(module, self._loader)
        module.__class__ = _RunningModule
        try:
            with self._imports.around():
                self._loader.exec_module(module)
        except BaseException:
            _set_loader(module, self)
            module.__class__ = _PendingModule
            raise
        module.__class__ = ModuleType
        if module.__name__ in self._imports.after:
            self._imports.after[module.__name__]()


class _PendingModule(ModuleType):
    """Has nothing of its own yet but what the import system gave it."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the module holds
        if name in _ASKED_BY_IMPORTS:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        with _lock:
            submodule = f"{self.__name__}.{name}"
            if _is_pending(self) and _lazy_loader(self).is_lazy(submodule):
                return importlib.import_module(submodule)
            if _is_pending(self):
                taker = sys._getframe(1).f_globals.get("__name__")  # noqa: SLF001 - whose import asks
                if _lazy_loader(self).is_called_later(self.__name__, name, taker):
                    return _deferred(self, name)
            _execute(self)
        return getattr(self, name)

    def __setattr__(self, name: str, value: object) -> None:
        # The import system binds a submodule to its package; anyone else replaces what is there.
        if not _is_import_systems(self, name, value):
            _execute(self)
        ModuleType.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        _execute(self)
        delattr(self, name)

    def __dir__(self) -> Iterable[str]:
        _execute(self)
        return dir(self)


class _RunningModule(ModuleType):
    """Is being executed: other threads wait, so that none sees half of it."""

    def __getattribute__(self, name: str) -> Any:  # noqa: ANN401 - whatever the module holds
        if not name.startswith("__"):
            with _lock:
                pass
        return ModuleType.__getattribute__(self, name)


def _deferred(module: ModuleType, name: str) -> Callable[..., object]:
    """Return a function that calls the module's own, and so executes the module."""

    def call(*args: object, **kwargs: object) -> object:
        _execute(module)
        return getattr(module, name)(*args, **kwargs)

    call.__name__ = call.__qualname__ = name
    call.__module__ = module.__name__
    return call


def _execute(module: ModuleType) -> None:
    with _lock:
        if _is_pending(module):
            _lazy_loader(module).execute(module)


def _is_pending(module: object) -> bool:
    return type(module) is _PendingModule


def _execute_package_of(name: str) -> ModuleSpec | None:
    """Execute the pending package above a module that is not lazy.

    Returns:
        A spec for the module if the package imported it meanwhile.
    """
    package = sys.modules.get(name.rpartition(".")[0])
    if not _is_pending(package):
        return None
    _execute(cast("ModuleType", package))
    imported = sys.modules.get(name)
    return None if imported is None else ModuleSpec(name, _ImportedLoader(imported))


class _ImportedLoader(Loader):
    """Gives a module that was imported already."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._spec = module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        del spec
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


def _lazy_loader(module: ModuleType) -> _LazyLoader:
    loader: _LazyLoader = module.__dict__["__spec__"].loader
    return loader


def _set_loader(module: ModuleType, loader: Loader) -> None:
    module.__dict__["__loader__"] = loader
    module.__dict__["__spec__"].loader = loader


def _is_import_systems(module: ModuleType, name: str, value: object) -> bool:
    if name == "__class__" or name in _ASKED_BY_IMPORTS:
        return True
    return isinstance(value, ModuleType) and sys.modules.get(f"{module.__name__}.{name}") is value
