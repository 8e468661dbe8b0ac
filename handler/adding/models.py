"""The model files that a graph names, and where each can be fetched from."""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from comfyui_runtime.run.model_files import same_folders
from comfyui_runtime.workflow.graph import as_link

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from comfyui_runtime.workflow.editor import EditorDocument, NodeDefinition
    from comfyui_runtime.workflow.graph import Graph

_SUFFIXES = frozenset(
    {".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft", ".onnx", ".gguf"}
)
_ADDRESS = re.compile(r"https?://[^\s)\]>\"'`|]+")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
NOTES = frozenset({"Note", "MarkdownNote"})


@dataclass(frozen=True)
class NamedModel:
    """A model file that a node loads.

    Attributes:
        folder: ComfyUI's folder kind; ``None`` where neither class nor file says.
        file: Name below that folder, as the node's input gives it.
        url: Where it can be fetched; ``None`` where the workflow does not say.
        size: Bytes, where its host told.
    """

    folder: str | None
    file: str
    url: str | None = None
    sha256: str | None = None
    size: int | None = None


def named_models(
    graph: Graph,
    definitions: Mapping[str, NodeDefinition],
    document: EditorDocument | None,
) -> list[NamedModel]:
    """Return the model files that the graph's nodes load, each once, in the graph's order.

    Addresses come from ``properties.models`` and from links in notes, never from a guess.
    """
    known = {} if document is None else _declared(document)
    noted = {} if document is None else _noted(document)
    found: dict[tuple[str | None, str], NamedModel] = {}
    for node in graph.nodes.values():
        definition = definitions.get(node.class_type)
        for name, value in node.inputs.items():
            folder = _folder_of(definition, name)
            if not isinstance(value, str) or as_link(value) is not None:
                continue
            is_model_name = PurePosixPath(value).suffix.lower() in _SUFFIXES
            if not is_model_name or (definition is not None and folder is None):
                continue
            base = _base(value)
            model = known.get(base) or NamedModel(None, value)
            model = replace(model, folder=folder or model.folder, file=value)
            if model.url is None:
                model = replace(model, url=noted.get(base))
            found.setdefault((model.folder, model.file), model)
    return list(found.values())


def _folder_of(definition: NodeDefinition | None, name: str) -> str | None:
    declared = definition.input(name) if definition is not None else None
    folder = declared.options.get("model_folder") if declared is not None else None
    return str(folder) if folder else None


def folder_on_disk(folder: str) -> str:
    """Return the name below ComfyUI's ``models`` for a folder kind."""
    return same_folders(folder)[0]


def direct_address(url: str) -> str:
    """Return the address of the file itself where ``url`` is that of a page about it."""
    parts = urllib.parse.urlsplit(url.rstrip(".,;"))
    if parts.hostname in {"huggingface.co", "hf-mirror.com"}:
        path = parts.path.replace("/blob/", "/resolve/", 1)
        return urllib.parse.urlunsplit(("https", "huggingface.co", path, "", ""))
    return urllib.parse.urlunsplit(parts._replace(fragment=""))


def _declared(document: EditorDocument) -> dict[str, NamedModel]:
    found: dict[str, NamedModel] = {}
    for entry in _entries(document):
        name, url = entry.get("name"), entry.get("url")
        if not isinstance(name, str):
            continue
        digest = str(entry.get("hash") or "")
        is_sha256 = str(entry.get("hash_type") or "SHA256").upper().replace("-", "") == "SHA256"
        model = NamedModel(
            folder=str(entry["directory"]) if entry.get("directory") else None,
            file=name,
            url=direct_address(url) if isinstance(url, str) and url else None,
            sha256=digest.lower() if is_sha256 and _SHA256.fullmatch(digest) else None,
        )
        found.setdefault(_base(name), model)
    return found


def _entries(document: EditorDocument) -> Iterator[Mapping[str, Any]]:
    for node in document.nodes():
        listed = node.properties.get("models")
        for entry in listed if isinstance(listed, list) else ():
            if isinstance(entry, dict):
                yield entry
    yield from document.models


def _noted(document: EditorDocument) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in _notes(document):
        for address in _ADDRESS.findall(text):
            direct = direct_address(address)
            base = _base(urllib.parse.unquote(urllib.parse.urlsplit(direct).path))
            if PurePosixPath(base).suffix.lower() in _SUFFIXES:
                found.setdefault(base, direct)
    return found


def _notes(document: EditorDocument) -> Iterable[str]:
    for node in document.nodes():
        if node.type in NOTES and isinstance(node.values, list):
            yield from (value for value in node.values if isinstance(value, str))


def _base(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2]
