"""The registered node classes, and what they declare."""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any

from comfyui_runtime.in_process.node_classes import LazyNodeClasses

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


def modules_of_core_nodes() -> dict[str, str]:
    """Return for each class of ComfyUI's node files ``<folder>.<file without .py>``."""
    modules = {
        class_type: str(getattr(node_class, "RELATIVE_PYTHON_MODULE", ""))
        for class_type, node_class in node_classes().items()
    }
    return {
        class_type: module
        for class_type, module in modules.items()
        if module.startswith(("comfy_extras.", "comfy_api_nodes."))
    }


def load_failure(class_type: str) -> str | None:
    """Return why ComfyUI's own file that defines a node class does not import, if that is so."""
    classes = node_classes()
    return classes.failure(class_type) if isinstance(classes, LazyNodeClasses) else None


def input_spec(class_type: str, input_name: str) -> tuple[Any, ...] | None:
    """Return how a node class declares an input, ``(type or choices, options)``, if it does."""
    inputs = node_classes()[class_type].INPUT_TYPES()
    for group in ("required", "optional"):
        if input_name in inputs.get(group, {}):
            return tuple(inputs[group][input_name])
    return None


def checks_itself(class_type: str, input_name: str) -> bool:
    """Say whether a node class checks that input itself, as ``LoadImage`` does its file name."""
    own_check = getattr(node_classes()[class_type], "VALIDATE_INPUTS", None)
    return own_check is not None and input_name in inspect.signature(own_check).parameters


def is_output_class(class_type: str) -> bool:
    """Say whether a node class is one that ComfyUI starts from."""
    return getattr(node_classes().get(class_type), "OUTPUT_NODE", False) is True
