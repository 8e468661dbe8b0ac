"""ComfyUI's table of node classes, whose own node files are loaded on demand."""

from __future__ import annotations

import threading
from collections.abc import KeysView
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


class LazyNodeClasses(dict[str, Any]):
    """Node classes by ``class_type``; stands in for ``nodes.NODE_CLASS_MAPPINGS``.

    Asking for one class loads the file that defines it; asking for all of them, by iterating or
    counting, loads every file. To its users the table looks complete.

    Args:
        loaded: The classes that are already loaded.
        files: For each class that is not loaded, the file that defines it.
        load: Loads a file's classes into this table; returns why it could not, or ``None``. A
            file that could not be loaded is not tried again.
    """

    def __init__(
        self,
        loaded: Mapping[str, Any],
        files: Mapping[str, str],
        load: Callable[[str], str | None],
    ) -> None:
        super().__init__(loaded)
        self._files = dict(files)
        self._load = load
        self._tried: dict[str, str | None] = {}
        self._lock = threading.RLock()

    def loaded_names(self) -> frozenset[str]:
        """Return the names of the classes that are loaded."""
        return frozenset(super().keys())

    def known_names(self) -> frozenset[str]:
        """Return the names of all classes, without loading any."""
        return self.loaded_names() | frozenset(self._files)

    def failure(self, class_type: str) -> str | None:
        """Return why the file that defines a class could not be loaded; ``None`` if it could."""
        file = self._files.get(class_type)
        return None if file is None else self._tried.get(file)

    def load_all(self) -> None:
        """Load every file."""
        for file in dict.fromkeys(self._files.values()):
            self._load_file(file)

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

    def keys(self) -> Any:  # noqa: ANN401 - dict_keys, a type without a name
        """Return all names; looking for one of them loads its file alone."""
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
        if isinstance(key, str) and key in self._files and not super().__contains__(key):
            self._load_file(self._files[key])

    def _load_file(self, file: str) -> None:
        with self._lock:
            if file not in self._tried:
                # Set before it is loaded: the file may ask for one of its own classes.
                self._tried[file] = None
                self._tried[file] = self._load(file)
