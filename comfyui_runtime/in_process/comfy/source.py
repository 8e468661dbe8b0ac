"""Which ComfyUI a folder holds, and whether this process can start it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from comfyui_runtime.errors import BootError

if TYPE_CHECKING:
    from pathlib import Path


SUPPORTED_VERSION = "0.3.75"
_TOP_LEVEL_NAMES = ("comfy", "nodes", "execution", "server", "folder_paths", "utils", "app")


def check_source(comfyui_dir: Path) -> str:
    """Return the version of the ComfyUI in a folder.

    Raises:
        BootError: There is none, it is another version than this module was checked against, or
            other modules have its names in this process.
    """
    try:
        text = (comfyui_dir / "comfyui_version.py").read_text()
    except OSError as error:
        raise BootError(
            f"There is no ComfyUI in {comfyui_dir}. Run ./provision.sh, or set COMFYUI_DIR."
        ) from error
    version = text.partition("__version__ = ")[2].strip().strip('"')
    if version != SUPPORTED_VERSION:
        raise BootError(
            f"{comfyui_dir} holds ComfyUI {version}; this worker needs {SUPPORTED_VERSION}."
        )
    taken = [name for name in _TOP_LEVEL_NAMES if name in sys.modules]
    if taken:
        raise BootError(
            f"Modules named {', '.join(taken)} are imported already; ComfyUI needs these names."
        )
    return version
