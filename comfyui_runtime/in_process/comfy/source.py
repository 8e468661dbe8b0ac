"""Which ComfyUI a folder holds, and whether this process can start it."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from comfyui_runtime.errors import BootError

if TYPE_CHECKING:
    from pathlib import Path


OLDEST_VERSION = (0, 3, 68)
NEWEST_PROVED_VERSION = (0, 33, 0)
_TOP_LEVEL_NAMES = ("comfy", "nodes", "execution", "server", "folder_paths", "utils", "app")


@dataclass(frozen=True)
class Source:
    """The ComfyUI of a folder.

    Attributes:
        version: As ComfyUI writes it, such as ``0.30.0``.
        proved: Whether the contract suite passed on this release or a newer one.
    """

    version: str
    proved: bool


def check_source(comfyui_dir: Path) -> Source:
    """Return what a folder holds.

    Raises:
        BootError: There is no ComfyUI, it is too old, or other modules have its names in this
            process.
    """
    source = read_source(comfyui_dir)
    taken = [name for name in _TOP_LEVEL_NAMES if name in sys.modules]
    if taken:
        raise BootError(
            f"Modules named {', '.join(taken)} are imported already; ComfyUI needs these names."
        )
    return source


def read_source(comfyui_dir: Path) -> Source:
    """Return what a folder holds, whatever this process has imported.

    Raises:
        BootError: There is no ComfyUI, or it is too old.
    """
    try:
        text = (comfyui_dir / "comfyui_version.py").read_text()
    except OSError as error:
        raise BootError(
            f"There is no ComfyUI in {comfyui_dir}. Run ./provision.sh, or set COMFYUI_DIR."
        ) from error
    version = text.partition("__version__ = ")[2].strip().strip('"')
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    if numbers < OLDEST_VERSION:
        raise BootError(
            f"{comfyui_dir} holds ComfyUI {version or 'of no known release'}; this worker needs "
            f"{'.'.join(map(str, OLDEST_VERSION))} or newer. ./provision.sh installs one."
        )
    return Source(version, proved=numbers <= NEWEST_PROVED_VERSION)
