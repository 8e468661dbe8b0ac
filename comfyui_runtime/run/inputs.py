"""Puts a caller's files where a graph finds them."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from comfyui_runtime.workflow.files import FileUse

# ComfyUI's cache takes a loaded video for another when the file's time differs; here equal names
# mean equal files.
_ANY_TIME = 1_000_000_000.0


def place_files(input_folder: Path, uses: Iterable[FileUse]) -> None:
    """Put files into ComfyUI's input folder; :func:`clear_scratch` takes them out again."""
    for use in uses:
        target = input_folder / use.place
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(use.file.path, target)
        except OSError:  # another file system, or one without links
            shutil.copyfile(use.file.path, target)
        os.utime(target, (_ANY_TIME, _ANY_TIME))
