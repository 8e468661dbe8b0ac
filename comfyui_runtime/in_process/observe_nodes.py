"""Records which node classes each of ComfyUI's node files defines.

``python -m comfyui_runtime.in_process.observe_nodes COMFYUI_DIR`` rewrites the index when the
pinned ComfyUI moves. All node files must import, so torchaudio must be installed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from comfyui_runtime.errors import BootError
from comfyui_runtime.in_process import comfy
from comfyui_runtime.in_process.boot import boot
from comfyui_runtime.in_process.comfy.node_index import INDEX_FILE, NodeIndex
from comfyui_runtime.in_process.options import BootOptions


def observe_node_index(comfyui_dir: Path) -> NodeIndex:
    """Start ComfyUI with all its node files in this process, and return what they define.

    Raises:
        BootError: ComfyUI could not be started, or one of its files does not import.
    """
    with tempfile.TemporaryDirectory() as base_dir:
        options = BootOptions(comfyui_dir, Path(base_dir), device="cpu", api_nodes=True, lazy=False)
        runtime, report = boot(options)
        runtime.close()
    if report.failed_core_files:
        raise BootError(f"These node files do not import: {', '.join(report.failed_core_files)}.")
    return comfy.index_of_loaded_nodes(report.comfyui_version)


if __name__ == "__main__":
    index = observe_node_index(Path(sys.argv[1]))
    INDEX_FILE.write_text(index.model_dump_json(indent=1) + "\n")
