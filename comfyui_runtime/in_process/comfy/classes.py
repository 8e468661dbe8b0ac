"""The registered node classes, and what they declare."""

from __future__ import annotations

import copy
import importlib
import inspect
from typing import TYPE_CHECKING, Any

from comfyui_runtime.in_process.comfy.lazy_classes import LazyNodeClasses
from comfyui_runtime.in_process.comfy.node_index import NODE_FOLDERS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def node_classes() -> Mapping[str, Any]:
    """Return every registered node class by its ``class_type``."""
    classes: Mapping[str, Any] = importlib.import_module("nodes").NODE_CLASS_MAPPINGS
    return classes


def node_class_names() -> frozenset[str]:
    """Return the ``class_type`` of every node class, without loading any."""
    classes = node_classes()
    return classes.known_names() if isinstance(classes, LazyNodeClasses) else frozenset(classes)


def core_classes_by_file() -> dict[str, tuple[str, ...]]:
    """Return which of ComfyUI's node files, as paths below its folder, registered which classes."""
    files: dict[str, list[str]] = {}
    for class_type, node_class in node_classes().items():
        module = str(getattr(node_class, "RELATIVE_PYTHON_MODULE", ""))
        folder, _, name = module.partition(".")
        if folder in NODE_FOLDERS:
            files.setdefault(f"{folder}/{name}.py", []).append(class_type)
    return {file: tuple(class_types) for file, class_types in files.items()}


def load_failure(class_type: str) -> str | None:
    """Return why the file or pack that defines a node class does not import, if that is so."""
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
    own_check = _own_check(node_classes()[class_type])
    if own_check is None:
        return False
    parameters = inspect.getfullargspec(own_check)
    return input_name in parameters.args or parameters.varkw is not None


def declared_default(class_type: str, input_name: str, inputs: Mapping[str, Any]) -> Any:  # noqa: ANN401 - as declared
    """Return the default that a node class declares for an input; ``None`` where it has none.

    Args:
        inputs: What the node is given: some classes declare inputs that depend on others.
    """
    specs = input_specs(class_type)
    if input_name not in specs:
        specs = _specs_given(class_type, inputs)
    match specs.get(input_name):
        case [_, {"default": default}, *_]:
            return copy.deepcopy(default)
        case _:
            return None


def _specs_given(class_type: str, inputs: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    finalize = getattr(importlib.import_module("comfy_api.latest"), "_io", None)
    finalize = getattr(finalize, "get_finalized_class_inputs", None)
    node_class = node_classes()[class_type]
    if finalize is None or not hasattr(node_class, "GET_SCHEMA"):
        return {}
    declared, *_ = finalize(node_class.INPUT_TYPES(), dict(inputs))
    return {name: tuple(spec) for group in declared.values() for name, spec in group.items()}


def _own_check(node_class: Any) -> Callable[..., Any] | None:  # noqa: ANN401 - a node class
    """Return a class's own check of its inputs, by the rule of ComfyUI's validation."""
    api = importlib.import_module("comfy_api.internal")
    if issubclass(node_class, api._ComfyNodeInternal):  # noqa: SLF001 - as ComfyUI's validation has it
        check: Callable[..., Any] | None = api.first_real_override(node_class, "validate_inputs")
        return check
    return getattr(node_class, "VALIDATE_INPUTS", None)


def is_output_class(class_type: str) -> bool:
    """Say whether a node class is one that ComfyUI starts from."""
    return getattr(node_classes().get(class_type), "OUTPUT_NODE", False) is True
