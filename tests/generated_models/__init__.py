"""Model files of the real architectures with generated weights: tests need no download.

The files have the names, folders, tensor names, shapes and types of the real ones, so that ComfyUI
takes the same path through its code as in production. What they draw means nothing, but it is
finite, it depends on every input, and it is the same on every machine.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from generated_models.files import ALL_FILES

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ALL_FILES", "ensure_generated_models"]

_PACKAGE_PARENT = __file__.rsplit("/", 2)[0]


def ensure_generated_models(
    models_dir: Path, comfyui_dir: Path, *, control_rank: int = 256, timeout: float = 300.0
) -> None:
    """Write the model files that ``models_dir`` lacks; 10.6 GB when it is empty.

    It runs in a process of its own: ComfyUI's classes are needed for the shapes, and the caller's
    process is to boot ComfyUI in its own way, without what was imported here.

    Args:
        models_dir: ComfyUI's models folder; made if missing.
        comfyui_dir: ComfyUI's source folder.
        control_rank: Rank of the control LoRAs that are made; 256 in the real files. A control
            LoRA's memory, and most of its time on a CPU, are proportional to it.
        timeout: Seconds.

    Raises:
        subprocess.CalledProcessError: A file could not be made; the reason is on stderr.
        subprocess.TimeoutExpired: It took too long.
    """
    if all((models_dir / name).is_file() for name in ALL_FILES):
        return
    subprocess.run(
        [
            sys.executable,
            "-m",
            "generated_models",
            str(models_dir),
            f"--comfyui-dir={comfyui_dir}",
            f"--control-rank={control_rank}",
        ],
        cwd=_PACKAGE_PARENT,
        check=True,
        timeout=timeout,
    )
