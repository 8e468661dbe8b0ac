"""What ComfyUI is started with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - read by pydantic where options go to another process
from typing import Literal

VramMode = Literal["auto", "high", "normal", "low", "none"]


@dataclass(frozen=True)
class BootOptions:
    """What ComfyUI is started with.

    Attributes:
        comfyui_dir: ComfyUI's source, the folder with its ``main.py``.
        base_dir: Folder with ``models/`` and ``custom_nodes/``; created if missing.
        model_dirs: Further folders laid out like ``models/``; missing ones are ignored.
        node_dirs: Further folders with node packs; missing ones are ignored.
        device: ``cuda`` stops without a GPU; ``cpu`` uses none.
        vram_mode: How much of the models stays in VRAM; ``auto`` lets ComfyUI decide.
        cache_lru: Node outputs kept from job to job, counted in nodes; 0 keeps those of the
            last graph that ran.
        cache_models: Whether what loaders made is kept from graph to graph while memory allows.
        cache_ram_headroom: Bytes of RAM that kept models leave free; ``None`` for a tenth of all
            of it, at least 2 and at most 10 GiB.
        previews: Whether samplers send a preview picture with each step.
        api_nodes: Whether to load the node classes that call paid third-party services.
        stop_grace: Seconds that a node has to stop when told to, before the worker counts as
            broken.
        exit_when_stuck: Whether the process is ended when a node holds the interpreter itself past
            the job's time limit and grace, so that nothing in Python can stop it.
        lazy: Whether node classes and large modules are loaded when a graph first needs them,
            rather than all at start.
        eager_packs: Names of node packs that are imported at start even so.
        extra_args: Further options of ComfyUI's command line.
    """

    comfyui_dir: Path
    base_dir: Path
    model_dirs: tuple[Path, ...] = ()
    node_dirs: tuple[Path, ...] = ()
    device: Literal["cuda", "cpu"] = "cuda"
    vram_mode: VramMode = "auto"
    cache_lru: int = 0
    cache_models: bool = True
    cache_ram_headroom: int | None = None
    previews: bool = False
    api_nodes: bool = False
    stop_grace: float = 30.0
    exit_when_stuck: bool = False
    lazy: bool = True
    eager_packs: frozenset[str] = frozenset()
    extra_args: tuple[str, ...] = ()
