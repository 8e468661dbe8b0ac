"""Finds the node index that fits what is installed, or makes it from the start under way."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING

from comfyui_runtime.in_process import comfy
from comfyui_runtime.in_process.comfy.node_index import (
    INDEX_FILE,
    NODE_FOLDERS,
    IndexedPack,
    NodeIndex,
    declared_classes,
    digest_of_comfyui,
    digest_of_environment,
    digest_of_pack,
    misfit,
    read_node_index,
    write_node_index,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from comfyui_runtime.in_process.options import BootOptions

log = logging.getLogger(__name__)


def find_index(options: BootOptions, packs: Sequence[Path]) -> NodeIndex | None:
    """Return the index by which node files and packs can be left until a graph asks for them.

    Returns:
        ``None`` if the start is to be eager; where that was not asked for, the log says why.
    """
    if not options.lazy:
        return None
    index = read_node_index(options.base_dir)
    reason = misfit(index, options.comfyui_dir, packs, api_nodes=options.api_nodes)
    if reason is None:
        return index
    log.warning(
        "the node index does not fit: this start is eager",
        extra={"reason": reason, "index": str(options.base_dir / INDEX_FILE)},
    )
    return None


def eager_reason(options: BootOptions, index: NodeIndex, pack: Path) -> str | None:
    """Say why a pack is imported at start although there is an index, if it is."""
    if pack.name in options.eager_packs or pack.stem in options.eager_packs:
        return "the settings name it"
    return index.packs[pack.name].eager


class IndexRecorder:
    """Makes an index of what an eager start loads.

    Args:
        packs: All that are installed. Their digests are taken now, before any of them runs.
    """

    def __init__(self, options: BootOptions, version: str, packs: Sequence[Path]) -> None:
        self._options = options
        self._version = version
        self._comfyui_digest = digest_of_comfyui(options.comfyui_dir)
        self._environment = digest_of_environment()
        self._digests = {pack: digest_of_pack(pack) for pack in packs}
        self._observer = comfy.Observer(options.comfyui_dir)
        self._core: dict[str, tuple[str, ...]] = {}
        self._packs: dict[str, IndexedPack] = {}

    def core_loaded(self, failed: Sequence[str]) -> None:
        """Take down ComfyUI's own classes, before any others are registered."""
        self._core = comfy.core_classes_by_file()
        for name in failed:
            for folder in NODE_FOLDERS:
                path = self._options.comfyui_dir / folder / name
                if path.is_file():
                    self._core[f"{folder}/{name}"] = declared_classes(path)

    @contextlib.contextmanager
    def loading(self, pack: Path, runner: comfy.LoopRunner) -> Iterator[list[str]]:
        """Take down what the import inside does.

        Yields:
            A list into which to put why the pack must be imported at every start, if that is known.
        """
        before = dict(comfy.node_classes())
        waits = runner.waits
        reasons: list[str] = []
        self._observer.start()
        yield reasons
        effects = self._observer.effects()
        if effects.lasting is not None:
            reasons.append(effects.lasting)
        if runner.waits > waits:
            reasons.append("waits for something while it is loaded")
        if pack.name in self._packs:
            reasons.append("another pack has its name")
        self._packs[pack.name] = IndexedPack(
            digest=self._digests[pack],
            classes=tuple(
                name
                for name, node_class in comfy.node_classes().items()
                if before.get(name) is not node_class
            ),
            eager=reasons[0] if reasons else None,
            routes=effects.routes,
        )

    def write(self) -> None:
        """Keep the index for the next start, where the folder can be written to."""
        index = NodeIndex(
            comfyui_version=self._version,
            comfyui_digest=self._comfyui_digest,
            environment=self._environment,
            api_nodes=self._options.api_nodes,
            core=self._core,
            packs=self._packs,
        )
        try:
            path = write_node_index(self._options.base_dir, index)
        except OSError as error:
            log.warning("the node index cannot be kept", extra={"reason": str(error)})
            return
        log.info(
            "node index made for the next start",
            extra={
                "index": str(path),
                "eager_packs": {
                    name: pack.eager for name, pack in index.packs.items() if pack.eager
                },
            },
        )


def can_record(options: BootOptions) -> bool:
    """Say whether a start may keep an index."""
    return options.lazy and os.access(options.base_dir, os.W_OK)
