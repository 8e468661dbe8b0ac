"""What ComfyUI is started with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

VramMode = Literal["auto", "high", "normal", "low", "none"]

_VRAM_FLAGS: dict[VramMode, tuple[str, ...]] = {
    "auto": (),
    "high": ("--highvram",),
    "normal": ("--normalvram",),
    "low": ("--lowvram",),
    "none": ("--novram",),
}


@dataclass(frozen=True)
class BootOptions:
    """What ComfyUI is started with.

    Attributes:
        comfyui_dir: ComfyUI's source, the folder with its ``main.py``.
        base_dir: Folder with ``models/`` and ``custom_nodes/``; made where it is missing.
        model_dirs: Further folders laid out like ``models/``; those that do not exist are left out.
        device: ``cuda`` stops without a GPU; ``cpu`` uses none.
        vram_mode: How much of the models stays in VRAM; ``auto`` lets ComfyUI decide.
        cache_lru: Node outputs kept from job to job, counted in nodes; 0 keeps those of the
            last graph that ran.
        previews: Whether samplers give a preview picture with each step.
        api_nodes: Whether to load the node classes that call paid services of others.
        stop_grace: Seconds that a node has to stop when told to, before the worker counts as
            broken.
        exit_when_stuck: Whether the process is ended when a node holds the interpreter itself past
            the job's time limit and grace, so that nothing in Python can stop it.
        lazy: Whether node classes and large modules are loaded when a graph first needs them,
            rather than all at start.
        extra_args: Further options of ComfyUI's command line.
    """

    comfyui_dir: Path
    base_dir: Path
    model_dirs: tuple[Path, ...] = ()
    device: Literal["cuda", "cpu"] = "cuda"
    vram_mode: VramMode = "auto"
    cache_lru: int = 0
    previews: bool = False
    api_nodes: bool = False
    stop_grace: float = 30.0
    exit_when_stuck: bool = False
    lazy: bool = True
    extra_args: tuple[str, ...] = ()

    def argv(self, web_root: Path) -> list[str]:
        """Return the arguments for ComfyUI's own parser.

        Args:
            web_root: An empty folder; it keeps ComfyUI from looking for its front end.
        """
        return [
            "--base-directory",
            str(self.base_dir),
            "--front-end-root",
            str(web_root),
            "--database-url",
            "sqlite:///:memory:",
            # Graphs may hold prompts of others; whoever wants one embedded asks the caller for it.
            "--disable-metadata",
            "--preview-method",
            "latent2rgb" if self.previews else "none",
            *(() if self.api_nodes else ("--disable-api-nodes",)),
            *(("--cpu",) if self.device == "cpu" else ()),
            *(_VRAM_FLAGS[self.vram_mode]),
            *(("--cache-lru", str(self.cache_lru)) if self.cache_lru else ()),
            *self.extra_args,
        ]
