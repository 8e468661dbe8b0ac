"""ComfyUI's table of node classes, whose files and packs are loaded on demand."""

from __future__ import annotations

import threading
from collections.abc import KeysView
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping


class LazyNodeClasses(dict[str, Any]):
    """Node classes by ``class_type``; stands in for ``nodes.NODE_CLASS_MAPPINGS``.

    Asking for one class loads the source that defines it, a file or a pack; asking for all of
    them, by iterating or counting, loads every source. To its users the table looks complete.

    Of several sources that define a class the last one offered wins, whichever is loaded first.
    Where it fails, the one before it does.

    Args:
        loaded: The classes that are already loaded.
    """

    def __init__(self, loaded: Mapping[str, Any]) -> None:
        super().__init__(loaded)
        self._source_of: dict[str, str] = {}
        self._behind: dict[str, list[Any]] = {}
        self._set_at_start: set[str] = set()
        self._loaders: dict[str, Callable[[], str | None]] = {}
        self._tried: dict[str, str | None] = {}
        self._loading: list[str] = []
        self._lock = threading.RLock()

    def offer(
        self, source: str, class_types: Iterable[str], load: Callable[[], str | None]
    ) -> None:
        """Have classes loaded when they are asked for.

        Args:
            source: Name of the file or pack.
            class_types: What it defines.
            load: Loads its classes into this table; returns why it could not, or ``None``. A
                source that could not be loaded is not tried again.
        """
        self._loaders[source] = load
        for name in class_types:
            if name in self._source_of:
                self._behind.setdefault(name, []).append(self._source_of[name])
            elif super().__contains__(name):
                self._behind.setdefault(name, []).append(_Loaded(super().pop(name)))
            self._set_at_start.discard(name)
            self._source_of[name] = source

    def loaded_names(self) -> frozenset[str]:
        """Return the names of the classes that are loaded."""
        return frozenset(super().keys())

    def known_names(self) -> frozenset[str]:
        """Return the names of all classes, without loading any."""
        return self.loaded_names() | frozenset(self._source_of)

    def failure(self, class_type: str) -> str | None:
        """Return why the source that defines a class could not be loaded; ``None`` if it could."""
        source = self._source_of.get(class_type)
        return None if source is None else self._tried.get(source)

    def sources(self) -> tuple[str, ...]:
        """Return the names of all sources, in the order in which they were offered."""
        return tuple(self._loaders)

    def load_all(self) -> None:
        """Load every source."""
        for source in self.sources():
            self.load_source(source)

    def load_source(self, source: str) -> str | None:
        """Load a source, if that was not tried before; return why it failed, or ``None``."""
        with self._lock:
            if source not in self._tried:
                # Set before it is loaded: the source may ask for one of its own classes.
                self._tried[source] = None
                self._loading.append(source)
                try:
                    self._tried[source] = self._loaders[source]()
                finally:
                    self._loading.pop()
                if self._tried[source] is not None:
                    self._fall_back(source)
            return self._tried[source]

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ANN401 - a node class
        """Return a class, or ``default``."""
        self._ask_for(key)
        return super().get(key, default)

    def pop(self, key: str, *default: Any) -> Any:  # noqa: ANN401 - a node class
        """Take a class out of the table."""
        self._ask_for(key)
        return super().pop(key, *default)

    def setdefault(self, key: str, default: Any = None) -> Any:  # noqa: ANN401 - a node class
        """Return a class, or put ``default`` in its place if there is none."""
        self._ask_for(key)
        return super().setdefault(key, default)

    def update(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as a dictionary's
        """Set several classes."""
        for name, value in dict(*args, **kwargs).items():
            self[name] = value

    def keys(self) -> Any:  # noqa: ANN401 - dict_keys, a type without a name
        """Return all names; looking for one of them loads its source alone."""
        return KeysView(self)

    def values(self) -> Any:  # noqa: ANN401 - dict_values, a type without a name
        """Return all classes."""
        self.load_all()
        return super().values()

    def items(self) -> Any:  # noqa: ANN401 - dict_items, a type without a name
        """Return all classes with their names."""
        self.load_all()
        return super().items()

    def copy(self) -> dict[str, Any]:
        """Return all classes in an ordinary dictionary."""
        self.load_all()
        return super().copy()

    def __setitem__(self, key: str, value: Any) -> None:  # noqa: ANN401 - a node class
        with self._lock:
            if self._loading:
                # Another source may have been offered later than this one: it wins.
                if self._source_of.get(key, self._loading[-1]) == self._loading[-1] and (
                    key not in self._set_at_start
                ):
                    super().__setitem__(key, value)
                return
            self._source_of.pop(key, None)
            self._set_at_start.add(key)
            super().__setitem__(key, value)

    def __missing__(self, key: str) -> Any:  # noqa: ANN401 - a node class
        self._ask_for(key)
        if super().__contains__(key):
            return super().__getitem__(key)
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        self._ask_for(key)
        return super().__contains__(key)

    def __delitem__(self, key: str) -> None:
        self._ask_for(key)
        super().__delitem__(key)

    def __iter__(self) -> Iterator[str]:
        self.load_all()
        return super().__iter__()

    def __len__(self) -> int:
        self.load_all()
        return super().__len__()

    def _ask_for(self, key: object) -> None:
        while isinstance(key, str) and key in self._source_of and not super().__contains__(key):
            source = self._source_of[key]
            self.load_source(source)
            if self._source_of.get(key) == source:
                return  # it failed, defines no such class after all, or is being loaded

    def _fall_back(self, source: str) -> None:
        for name, owner in list(self._source_of.items()):
            if owner != source or not self._behind.get(name):
                continue
            match self._behind[name].pop():
                case _Loaded(node_class):
                    del self._source_of[name]
                    self._set_at_start.add(name)
                    super().__setitem__(name, node_class)
                case earlier:
                    self._source_of[name] = earlier


class _Loaded:
    """A class that was loaded before a source that defines it too was offered."""

    __match_args__ = ("node_class",)

    def __init__(self, node_class: Any) -> None:  # noqa: ANN401 - a node class
        self.node_class = node_class
