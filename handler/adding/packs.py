"""The node packs that a graph's classes come from."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from comfyui_runtime.workflow.editor import EditorDocument, NodeDefinition

_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPOSITORY = re.compile(r"(?:https?://github\.com/)?([\w.-]+/[\w.-]+?)(?:\.git)?/?")
_CORE = "comfy-core"
_MANAGER_MAP = "extension-node-map.json"


@dataclass(frozen=True)
class NamedPack:
    """A pack that some of the graph's classes come from.

    Attributes:
        name: Its id in ComfyUI's registry, or its repository's name.
        repository: ``OWNER/NAME`` on GitHub, where the file or the manager's map says.
        version: As the file says it: a release, or a commit.
        classes: The graph's classes that it defines.
    """

    name: str
    repository: str | None
    version: str | None
    classes: tuple[str, ...]

    @property
    def commit(self) -> str | None:
        """The commit to pin, where the file gives one."""
        return self.version if self.version and _COMMIT.fullmatch(self.version) else None


def named_packs(
    class_types: Iterable[str],
    definitions: Mapping[str, NodeDefinition],
    document: EditorDocument | None,
    manager_map: Mapping[str, str],
) -> list[NamedPack]:
    """Return the packs of classes that are not ComfyUI's own, sorted by name.

    Args:
        manager_map: For each class, the repository that ComfyUI-Manager's map gives.
    """
    said = {} if document is None else _said(document)
    packs: dict[str, NamedPack] = {}
    for class_type in dict.fromkeys(class_types):
        definition = definitions.get(class_type)
        properties = said.get(class_type, {})
        name = str(properties.get("cnr_id") or "")
        is_core = definition is not None and not definition.module.startswith("custom_nodes")
        if is_core or name == _CORE:
            continue
        repository = _repository(properties.get("aux_id")) or manager_map.get(class_type)
        if not name and definition is not None:
            name = definition.module.removeprefix("custom_nodes.").partition(".")[0]
        name = name or (repository or "").rpartition("/")[2]
        if not name:
            continue
        kept = packs.get(name)
        packs[name] = NamedPack(
            name,
            (kept.repository if kept else None) or repository,
            (kept.version if kept else None) or _text(properties.get("ver")),
            (*(kept.classes if kept else ()), class_type),
        )
    return [packs[name] for name in sorted(packs)]


def core_version(document: EditorDocument | None) -> str | None:
    """Return the newest ComfyUI release that the file says its nodes were saved with."""
    if document is None:
        return None
    versions = {
        str(node.properties.get("ver"))
        for node in document.nodes()
        if node.properties.get("cnr_id") == _CORE and node.properties.get("ver")
    }
    numbered = [one for one in versions if re.fullmatch(r"\d+(\.\d+)*", one)]
    return max(numbered, key=lambda one: [int(part) for part in one.split(".")], default=None)


def read_manager_map(custom_nodes: Path) -> dict[str, str]:
    """Return repositories by class from ComfyUI-Manager's map, where that pack is installed."""
    for path in sorted(custom_nodes.glob(f"*/{_MANAGER_MAP}")):
        try:
            data = json.loads(path.read_bytes())
        except (OSError, ValueError):
            continue
        return {
            str(class_type): repository
            for address, entry in data.items()
            if (repository := _repository(address)) and isinstance(entry, list) and entry
            for class_type in entry[0]
        }
    return {}


def _said(document: EditorDocument) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for node in document.nodes():
        if node.properties.get("cnr_id") or node.properties.get("aux_id"):
            found.setdefault(node.type, node.properties)
    return found


def _repository(value: object) -> str | None:
    match = _REPOSITORY.fullmatch(value) if isinstance(value, str) else None
    return match[1] if match else None


def _text(value: object) -> str | None:
    return str(value) if value else None
