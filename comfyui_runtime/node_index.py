"""Which of ComfyUI's own node files defines which node class, known without importing any.

``python -m comfyui_runtime.node_index COMFYUI_DIR`` writes the index anew when the pinned ComfyUI
moves, where all node files import (torchaudio must be installed).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from pydantic import BaseModel, ConfigDict

INDEX_FILE = Path(__file__).with_suffix(".json")


class NodeIndex(BaseModel):
    """The node classes of one ComfyUI release, but for those of its ``nodes.py``.

    Attributes:
        comfyui_version: The release.
        extras: For each file of ``comfy_extras``, in the order in which ComfyUI loads them, the
            ``class_type`` of every class that it defines.
        api_nodes: The same for ``comfy_api_nodes``: the classes that call paid services.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    comfyui_version: str
    extras: dict[str, tuple[str, ...]]
    api_nodes: dict[str, tuple[str, ...]]

    def files_by_class(self, *, api_nodes: bool) -> dict[str, str]:
        """Return each class's file, as a path below ComfyUI's folder."""
        folders = {"comfy_extras": self.extras}
        if api_nodes:
            folders["comfy_api_nodes"] = self.api_nodes
        return {
            class_type: f"{folder}/{file}"
            for folder, files in folders.items()
            for file, class_types in files.items()
            for class_type in class_types
        }


def read_node_index() -> NodeIndex:
    """Return the index of the pinned release."""
    return NodeIndex.model_validate_json(INDEX_FILE.read_bytes())


def observe_node_index(comfyui_dir: Path) -> NodeIndex:
    """Start ComfyUI with all its node files in this process, and return what they define.

    Raises:
        BootError: ComfyUI could not be started, or one of its files does not import.
    """
    from comfyui_runtime import internals
    from comfyui_runtime.boot import boot
    from comfyui_runtime.errors import BootError
    from comfyui_runtime.options import BootOptions

    with tempfile.TemporaryDirectory() as base_dir:
        options = BootOptions(comfyui_dir, Path(base_dir), device="cpu", api_nodes=True, lazy=False)
        runtime, report = boot(options)
        runtime.close()
    if report.failed_core_files:
        raise BootError(f"These node files do not import: {', '.join(report.failed_core_files)}.")
    folders: dict[str, dict[str, list[str]]] = {"comfy_extras": {}, "comfy_api_nodes": {}}
    for class_type, module in internals.modules_of_core_nodes().items():
        folder, _, name = module.partition(".")
        folders[folder].setdefault(f"{name}.py", []).append(class_type)
    return NodeIndex.model_validate(
        {
            "comfyui_version": report.comfyui_version,
            "extras": folders["comfy_extras"],
            "api_nodes": folders["comfy_api_nodes"],
        }
    )


if __name__ == "__main__":
    index = observe_node_index(Path(sys.argv[1]))
    INDEX_FILE.write_text(index.model_dump_json(indent=1) + "\n")
