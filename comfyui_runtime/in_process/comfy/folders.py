"""Where ComfyUI looks for models and node packs, and where files of a run go."""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from comfyui_runtime.in_process.options import BootOptions


def set_folders(options: BootOptions, scratch: Path) -> None:
    """Tell ComfyUI where models are, and where files of a run go."""
    folder_paths = importlib.import_module("folder_paths")
    for name in ("input", "output", "temp", "user"):
        (scratch / name).mkdir(parents=True, exist_ok=True)
    folder_paths.set_input_directory(str(scratch / "input"))
    folder_paths.set_output_directory(str(scratch / "output"))
    folder_paths.set_temp_directory(str(scratch / "temp"))
    folder_paths.set_user_directory(str(scratch / "user"))
    add_model_dirs(options.base_dir, options.model_dirs)
    for folder in options.node_dirs:
        if folder.is_dir():
            folder_paths.add_model_folder_path("custom_nodes", str(folder))


def add_model_dirs(base_dir: Path, model_dirs: Iterable[Path]) -> None:
    """Have every kind of model looked for in the further folders too.

    Called again once node packs are loaded, for the kinds that they registered.

    Args:
        base_dir: Folder with ``models/``.
        model_dirs: Folders laid out like ``models/``; missing ones are ignored.
    """
    folder_paths = importlib.import_module("folder_paths")
    models_root = base_dir / "models"
    kinds = [kind for kind in folder_paths.folder_names_and_paths if kind != "custom_nodes"]
    for model_dir in model_dirs:
        if not model_dir.is_dir():
            continue
        for kind in kinds:
            for path in list(folder_paths.get_folder_paths(kind)):
                with contextlib.suppress(ValueError):
                    relative = _relative(path, models_root)
                    folder_paths.add_model_folder_path(kind, str(model_dir / relative))


def node_pack_paths() -> list[Path]:
    """Return the folders and files below the folders of node packs that are packs.

    Folder by folder, as ComfyUI loads them, and by name in each.
    """
    folder_paths = importlib.import_module("folder_paths")
    roots = [Path(path) for path in folder_paths.get_folder_paths("custom_nodes")]
    return [
        path
        for root in roots
        if root.is_dir()
        for path in sorted(root.iterdir())
        if (path.suffix == ".py" if path.is_file() else _is_pack(path)) and _is_enabled(path.name)
    ]


def folder_roots(kind: str) -> list[str]:
    """Return the folders in which ComfyUI looks for a kind of model."""
    return list(importlib.import_module("folder_paths").get_folder_paths(kind))


def model_path(kind: str, name: str) -> Path | None:
    """Return where ComfyUI finds a model file, or ``None``."""
    path = importlib.import_module("folder_paths").get_full_path(kind, name)
    return None if path is None else Path(path)


def _relative(path: str, root: Path) -> Path:
    return Path(path).resolve().relative_to(root.resolve())


def _is_enabled(name: str) -> bool:
    args = importlib.import_module("comfy.cli_args").args
    return not args.disable_all_custom_nodes or name in getattr(args, "whitelist_custom_nodes", ())


def _is_pack(path: Path) -> bool:
    return path.name != "__pycache__" and path.suffix != ".disabled"
