"""Which of ComfyUI's own node files defines which node class, known without importing any.

:mod:`comfyui_runtime.in_process.observe_nodes` writes the index.
"""

from __future__ import annotations

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
