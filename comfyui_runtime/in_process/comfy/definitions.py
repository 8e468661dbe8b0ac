"""What node classes declare, in the shape of ComfyUI's ``/object_info``."""

from __future__ import annotations

import contextlib
import importlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfyui_runtime.in_process.comfy.classes import node_classes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MODEL_FOLDER = "model_folder"
_MARK = "model-folder:"
_MARK_SUFFIX = ".safetensors"
_NODE_ID = re.compile(r"""node_id\s*=\s*["']([^"']+)["']""")
_MAPPED = re.compile(r"""^\s*["']([^"']+)["']\s*:\s*\w+,?\s*$""", re.MULTILINE)


def node_definitions(
    class_types: Iterable[str] | None = None, *, mark_model_folders: bool = True
) -> dict[str, dict[str, Any]]:
    """Return each installed class's declaration as JSON data.

    An input that offers the files of a model folder says which: its options have
    ``model_folder``, ComfyUI's name of the folder kind. Classes that are not installed, or whose
    declaration raises, are left out.

    Args:
        class_types: Which; ``None`` for all, which loads every node file.
        mark_model_folders: Whether to say which model folder an input lists. It changes what other
            threads read meanwhile: not while graphs are validated.
    """
    classes = node_classes()
    names = list(classes) if class_types is None else list(dict.fromkeys(class_types))
    found = {}
    with _marked_model_lists() if mark_model_folders else contextlib.nullcontext():
        for name in names:
            node_class = classes.get(name)
            info = None if node_class is None else _declaration(name, node_class)
            if info is not None:
                found[name] = _with_model_folders(json.loads(json.dumps(info, default=str)))
    return found


def paid_class_names(comfyui_dir: Path) -> frozenset[str]:
    """Return the classes of ComfyUI's that call paid services, without importing their files."""
    names: set[str] = set()
    for path in (comfyui_dir / "comfy_api_nodes").glob("*.py"):
        text = path.read_text(errors="replace")
        names.update(_NODE_ID.findall(text))
        if "NODE_CLASS_MAPPINGS" in text:
            names.update(_MAPPED.findall(text))
    return frozenset(names)


def model_folder_kinds() -> frozenset[str]:
    """Return ComfyUI's names of the kinds of model folders."""
    return frozenset(importlib.import_module("folder_paths").folder_names_and_paths)


def input_folder() -> Path:
    """Return the folder in which loaders of pictures, video and sound look for files."""
    return Path(importlib.import_module("folder_paths").get_input_directory())


def _declaration(name: str, node_class: Any) -> dict[str, Any] | None:  # noqa: ANN401 - a node class
    try:
        if hasattr(node_class, "GET_NODE_INFO_V1"):
            info: dict[str, Any] = node_class.GET_NODE_INFO_V1()
            return info
        inputs = node_class.INPUT_TYPES()
    except Exception:  # noqa: BLE001 - a pack's own code; /object_info leaves such a class out too
        return None
    titles = importlib.import_module("nodes").NODE_DISPLAY_NAME_MAPPINGS
    return {
        "input": inputs,
        "input_order": {group: list(members) for group, members in inputs.items()},
        "output": list(node_class.RETURN_TYPES),
        "name": name,
        "display_name": titles.get(name, name),
        "python_module": getattr(node_class, "RELATIVE_PYTHON_MODULE", "nodes"),
        "output_node": getattr(node_class, "OUTPUT_NODE", False) is True,
        "api_node": getattr(node_class, "API_NODE", False) is True,
    }


@contextlib.contextmanager
def _marked_model_lists() -> Iterator[None]:
    """Have each list of model files begin with a mark that says which folder it lists."""
    folder_paths: Any = importlib.import_module("folder_paths")
    unmarked = folder_paths.get_filename_list

    def marked(kind: str) -> list[str]:
        return [f"{_MARK}{kind}{_MARK_SUFFIX}", *unmarked(kind)]

    folder_paths.get_filename_list = marked
    try:
        yield
    finally:
        folder_paths.get_filename_list = unmarked


def _with_model_folders(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Take the marks out of a declaration, and write beside each list what they said."""
    if isinstance(value, dict):
        return {key: _with_model_folders(member) for key, member in value.items()}
    if not isinstance(value, list):
        return value
    kind = _marked_kind(value)
    if kind is None:
        return [_with_model_folders(member) for member in value]
    options = dict(value[1]) if len(value) > 1 and isinstance(value[1], dict) else {}
    if isinstance(value[0], list):
        choices = [one for one in value[0] if not _is_mark(one)]
        return [choices, {**_unmarked_default(options, choices), MODEL_FOLDER: kind}]
    choices = [one for one in options.get("options", ()) if not _is_mark(one)]
    options["options"] = choices
    return [value[0], {**_unmarked_default(options, choices), MODEL_FOLDER: kind}]


def _unmarked_default(options: dict[str, Any], choices: list[Any]) -> dict[str, Any]:
    if _is_mark(options.get("default")):
        return {**options, "default": choices[0] if choices else None}
    return options


def _marked_kind(spec: list[Any]) -> str | None:
    offered: Any = spec[0] if spec else None
    if not isinstance(offered, list) and len(spec) > 1 and isinstance(spec[1], dict):
        offered = spec[1].get("options")
    if not isinstance(offered, list):
        return None
    for one in offered:
        if _is_mark(one):
            return str(one).partition(_MARK)[2].removesuffix(_MARK_SUFFIX)
    return None


def _is_mark(value: object) -> bool:
    return isinstance(value, str) and _MARK in value
