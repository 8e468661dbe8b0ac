"""Keeps what loaders made from graph to graph, beside ComfyUI's own cache of node outputs.

ComfyUI's classic cache drops the outputs of nodes that the next prompt does not have; its other
caches keep pictures and latents as well, or drop old models first. Here the outputs that hold
models outlive a prompt, keyed by the signature that ComfyUI's cache computes of a node and all that
leads to it; everything else stays ComfyUI's business.
"""

from __future__ import annotations

import gc
import importlib
import sys
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from comfyui_runtime.in_process.comfy.lazy_imports import is_pending
from comfyui_runtime.in_process.comfy.model_outputs import (
    ModelOutputs,
    file_names,
    loaded_models,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterator

    from comfyui_runtime.in_process.comfy.model_outputs import Slot
    from comfyui_runtime.run.runtime import LoadedModels

# How many outputs are kept of nodes that differ in numbers alone: the strengths of a LoRA.
_VARIANTS = 4
# Seconds between looks at the free memory: small jobs cannot fill it. ComfyUI asks for each
# tensor that it pins, too.
_LOOK_EVERY = 0.5
_ASKED_EVERY = 0.05


@dataclass(frozen=True)
class Memory:
    """The memory that models may fill.

    Attributes:
        available: Returns the bytes of RAM that are free.
        headroom: Bytes of it that stay free.
    """

    available: Callable[[], int]
    headroom: int


class _Kept(NamedTuple):
    entry: Any  # ComfyUI's CacheEntry
    slot: Slot
    models: tuple[Any, ...]


class KeptModels:
    """The outputs that are kept; the least recently used go first."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._looked_at = 0.0

    def put_into(self, cache: Any) -> None:  # noqa: ANN401 - a ComfyUI class
        """Give one of ComfyUI's caches what is kept for the nodes that it is to answer for."""
        for key in list(cache.cache_key_set.get_used_keys()):
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
                cache.cache.setdefault(key, kept.entry)

    def take_from(self, cache: Any) -> None:  # noqa: ANN401 - a ComfyUI class
        """Keep the outputs in ComfyUI's cache, and in the caches of expanded nodes, with models."""
        if not cache.initialized:
            return
        found = dict(_entries(cache))
        outputs = ModelOutputs(cache.dynprompt, {id_: entry for id_, (_, entry) in found.items()})
        for node_id, (key, entry) in found.items():
            if key in self._kept or not _can_recur(key):
                continue
            slot = outputs.slot(node_id)
            if slot is not None:
                self._kept[key] = _Kept(entry, slot, outputs.models(node_id))
                self._drop_variants(slot)

    def make_room(self, cache: Any, needed: int) -> None:  # noqa: ANN401 - a ComfyUI class
        """Let go of models until there is room, sparing those that the prompt uses.

        Args:
            cache: The cache of the prompt, which holds what the last one left as well.
            needed: Bytes that the prompt is about to load.
        """
        if needed == 0 and self._has_looked(_LOOK_EVERY):
            return
        target = self._memory.headroom + needed
        self.release(cache, target)
        free_pins = _function("comfy.model_management", "free_pins")
        shortfall = target - self._memory.available()
        if free_pins is not None and shortfall > 0:
            free_pins(shortfall)  # RAM that DynamicVRAM holds for models on the device

    def release(self, cache: Any, target: int) -> int:  # noqa: ANN401 - a ComfyUI class
        """Let go of models until ``target`` bytes are free; return how many bytes that gave."""
        self._looked_at = time.monotonic()
        before = available = self._memory.available()
        if available >= target:
            return 0
        used = set(cache.cache_key_set.get_used_keys())
        for key in [key for key in self._kept if key not in used]:
            models = self._kept[key].models
            if models and loaded_models(models).ram_bytes == 0:
                continue  # on the device
            del self._kept[key], models
            cache.cache.pop(key, None)
            gc.collect()
            available = self._memory.available()
            if available >= target:
                break
        return max(0, available - before)

    def release_soon(self, cache: Any, target: int) -> int:  # noqa: ANN401 - a ComfyUI class
        """Do as :meth:`release` does, unless that was just done."""
        return 0 if self._has_looked(_ASKED_EVERY) else self.release(cache, target)

    def clear(self) -> None:
        """Let go of everything."""
        self._kept.clear()

    @property
    def loaded(self) -> LoadedModels:
        """What is kept, and how large it is."""
        return loaded_models([model for kept in self._kept.values() for model in kept.models])

    @property
    def headroom(self) -> int:
        """Bytes of RAM that stay free."""
        return self._memory.headroom

    def _has_looked(self, seconds: float) -> bool:
        return time.monotonic() - self._looked_at < seconds

    def _drop_variants(self, slot: Slot) -> None:
        keys = [key for key, kept in self._kept.items() if kept.slot == slot]
        for key in keys[:-_VARIANTS]:
            del self._kept[key]


class ModelKeepingCache:
    """ComfyUI's cache of node outputs, with the kept models in it for every prompt.

    Args:
        cache: ComfyUI's own; whatever is not said here is left to it.
        kept: The models.
    """

    def __init__(self, cache: Any, kept: KeptModels) -> None:  # noqa: ANN401 - a ComfyUI class
        self._cache = cache
        self._kept = kept

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever ComfyUI's class has
        return getattr(self._cache, name)

    async def set_prompt(self, dynprompt: Any, node_ids: Any, is_changed: Any) -> None:  # noqa: ANN401
        """Start a prompt."""
        await self._cache.set_prompt(dynprompt, node_ids, is_changed)
        self._kept.put_into(self._cache)
        # Newer releases ask for memory while they load a model.
        set_state = _function("comfy.memory_management", "set_ram_cache_release_state")
        if set_state is not None:
            set_state(self.ram_release, self._kept.headroom)

    def clean_unused(self) -> None:
        """Drop what the prompt does not use, and make room for what it loads."""
        self._cache.clean_unused()
        self._kept.make_room(self._cache, _bytes_to_load(self._cache))

    async def ensure_subcache_for(self, node_id: str, children_ids: Collection[str]) -> Any:  # noqa: ANN401
        """Return the cache for the nodes that a node was expanded to."""
        subcache = await self._cache.ensure_subcache_for(node_id, children_ids)
        self._kept.put_into(subcache)
        return subcache

    def set(self, node_id: str, value: Any) -> Any:  # noqa: ANN401
        """Take a node's outputs, whose making may have filled the memory.

        Returns:
            What ComfyUI's does, since 0.18 a coroutine.
        """
        self._kept.make_room(self._cache, 0)
        return self._cache.set(node_id, value)

    def ram_release(self, target: int, free_active: bool = False, min_entry_size: int = 0) -> int:  # noqa: FBT001, FBT002 - ComfyUI's signature
        """Let go of models until ``target`` bytes are free; return how many bytes that gave."""
        del free_active, min_entry_size
        return self._kept.release_soon(self._cache, target)


def _function(module: str, name: str) -> Callable[..., Any] | None:
    """Return a function of a module that is in use, where the release has it."""
    if module not in sys.modules or is_pending(module):
        return None
    return getattr(sys.modules[module], name, None)


def _entries(cache: Any) -> Iterator[tuple[str, tuple[Hashable, Any]]]:  # noqa: ANN401 - a ComfyUI class
    keys = cache.cache_key_set
    for node_id in list(keys.all_node_ids()):
        key = keys.get_data_key(node_id)
        if key in cache.cache and cache.dynprompt.has_node(node_id):
            yield node_id, (key, cache.cache[key])
    for subcache in list(cache.subcaches.values()):
        yield from _entries(subcache)


def _can_recur(key: object) -> bool:
    """Say whether a node can have this signature again: NaN, ComfyUI's mark for never, cannot."""
    if isinstance(key, frozenset | tuple):
        return all(_can_recur(part) for part in key)
    return isinstance(key, str | bytes | int | float | None) and key == key  # noqa: PLR0124 - NaN


def _bytes_to_load(cache: Any) -> int:  # noqa: ANN401 - a ComfyUI class
    """Return the sizes of the model files that nodes name whose outputs are not known."""
    keys = cache.cache_key_set
    nodes = [
        cache.dynprompt.get_node(node_id)
        for node_id in keys.all_node_ids()
        if keys.get_data_key(node_id) not in cache.cache
    ]
    names = {name for node in nodes for name in file_names(node["inputs"])}
    return sum(_file_size(name) for name in names)


def _file_size(name: str) -> int:
    folder_paths = importlib.import_module("folder_paths")
    for kind in folder_paths.folder_names_and_paths:
        path = folder_paths.get_full_path(kind, name)
        if path is not None:
            return Path(path).stat().st_size
    return 0
