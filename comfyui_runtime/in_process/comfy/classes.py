"""The registered node classes, and what they declare."""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any

from comfyui_runtime.in_process.comfy.lazy_classes import LazyNodeClasses
from comfyui_runtime.in_process.comfy.node_index import NodeIndex

if TYPE_CHECKING:
    from collections.abc import Mapping


def node_classes() -> Mapping[str, Any]:
    """Return every registered node class by its ``class_type``."""
    classes: Mapping[str, Any] = importlib.import_module("nodes").NODE_CLASS_MAPPINGS
    return classes


def node_class_names() -> frozenset[str]:
    """Return the ``class_type`` of every node class, without loading any."""
    classes = node_classes()
    return classes.known_names() if isinstance(classes, LazyNodeClasses) else frozenset(classes)


def index_of_loaded_nodes(comfyui_version: str) -> NodeIndex:
    """Return which of ComfyUI's node files defines which of the registered classes."""
    files: dict[str, dict[str, list[str]]] = {"comfy_extras": {}, "comfy_api_nodes": {}}
    for class_type, node_class in node_classes().items():
        module = str(getattr(node_class, "RELATIVE_PYTHON_MODULE", ""))
        folder, _, name = module.partition(".")
        if folder in files:
            files[folder].setdefault(f"{name}.py", []).append(class_type)
    return NodeIndex.model_validate(
        {
            "comfyui_version": comfyui_version,
            "extras": files["comfy_extras"],
            "api_nodes": files["comfy_api_nodes"],
        }
    )


def load_failure(class_type: str) -> str | None:
    """Return why ComfyUI's own file that defines a node class does not import, if that is so."""
    classes = node_classes()
    return classes.failure(class_type) if isinstance(classes, LazyNodeClasses) else None


def input_specs(class_type: str) -> dict[str, tuple[Any, ...]]:
    """Return how a node class declares its inputs, each ``(type or choices, options)``.

    Nodes that offer files look through folders for this.
    """
    declared = node_classes()[class_type].INPUT_TYPES()
    groups = (declared.get("optional", {}), declared.get("required", {}))
    return {
        name: tuple(spec)
        for group in groups
        for name, spec in group.items()
        if isinstance(spec, list | tuple)
    }


def checks_itself(class_type: str, input_name: str) -> bool:
    """Say whether a node class checks that input itself, as ``LoadImage`` does its file name.

    As ComfyUI has it, one whose check takes ``**kwargs`` checks all of its inputs.
    """
    own_check = getattr(node_classes()[class_type], "VALIDATE_INPUTS", None)
    if own_check is None:
        return False
    parameters = inspect.signature(own_check).parameters
    return input_name in parameters or any(
        parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()
    )


def is_output_class(class_type: str) -> bool:
    """Say whether a node class is one that ComfyUI starts from."""
    return getattr(node_classes().get(class_type), "OUTPUT_NODE", False) is True
