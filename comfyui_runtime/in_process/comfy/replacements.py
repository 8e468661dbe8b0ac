"""Node classes that newer ones have replaced, exchanged in a graph as ComfyUI's server does."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
from pathlib import Path
from typing import Any

from comfyui_runtime.errors import GraphError
from comfyui_runtime.in_process.comfy.classes import node_class_names
from comfyui_runtime.in_process.comfy.node_files import outside_inference

_OWN_REPLACEMENTS = "nodes_replacements.py"


def replace_nodes(prompt: dict[str, Any]) -> None:
    """Exchange, in place, nodes whose classes are gone and have a successor.

    Releases without replacements leave the prompt as it is.

    Raises:
        GraphError: A node lacks an input that its successor needs.
    """
    unknown = {node["class_type"] for node in prompt.values()} - node_class_names()
    if not unknown or importlib.util.find_spec("app.node_replace_manager") is None:
        return
    _register_own()
    manager = importlib.import_module("server").PromptServer.instance.node_replace_manager
    replaced = {name for name in unknown if manager.has_replacement(name)}
    if not replaced:
        return
    for node in prompt.values():
        node.setdefault("_meta", {})
    try:
        manager.apply_replacements(prompt)
    except KeyError as error:
        raise GraphError(
            f"A node of class {' or '.join(sorted(replaced))}, which a newer class replaces, lacks "
            f"the input {error}. Export the graph again from a ComfyUI that has the class.",
            class_types=sorted(replaced),
            input=str(error.args[0]),
        ) from error


def _register_own() -> None:
    """Register ComfyUI's own replacements, whose file defines no class that a graph asks for."""
    nodes: Any = importlib.import_module("nodes")
    path = Path(nodes.__file__).parent / "comfy_extras" / _OWN_REPLACEMENTS
    if not path.is_file() or str(path.with_suffix("")) in nodes.LOADED_MODULE_DIRS:
        return
    with outside_inference():
        asyncio.run(nodes.load_custom_node(str(path), frozenset(), module_parent=path.parent.name))
