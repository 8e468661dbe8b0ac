"""Which nodes a graph that an event brings may have.

A graph is a program. What it may not do here: read or write outside ComfyUI's folders, fetch from
the network, run code of the caller's, or fill the worker's disk.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Self

from comfyui_runtime.in_process import comfy
from comfyui_runtime.workflow.files import FILE_LOADERS
from comfyui_runtime.workflow.graph import as_link
from comfyui_runtime.workflow.model_inputs import MODEL_INPUTS, is_model_address
from handler.contract.errors import GraphRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from comfyui_runtime.workflow.graph import Graph, Node, NodeId
    from handler.settings import Settings

CORE_CLASSES = {
    "LoadImageDataSetFromFolder": "reads a folder of files",
    "LoadImageTextDataSetFromFolder": "reads a folder of files",
    "LoadVideoDataSetFromFolder": "reads a folder of files",
    "LoadVideoTextDataSetFromFolder": "reads a folder of files",
    "LoadTrainingDataset": "reads pickled files, which older releases do not check",
    "SaveImageDataSetToFolder": "writes to a folder that older releases do not check",
    "SaveImageTextDataSetToFolder": "writes to a folder that older releases do not check",
    "SaveTrainingDataset": "writes to a folder that older releases do not check",
    "TrainLoraNode": "trains a model, for hours",
    "SaveLoRA": "writes a model file",
    "LoraSave": "writes a model file",
    "CheckpointSave": "writes a model file",
    "CLIPSave": "writes a model file",
    "VAESave": "writes a model file",
    "ModelSave": "writes a model file",
    "GLSLShader": "runs code: a shader that the caller writes",
}
"""ComfyUI's own classes that are refused, and why."""

PACK_CLASSES = {
    "*[Pp]ython*": "runs code",
    "*Exec*": "runs code",
    "*Eval*": "runs code",
    "*Shell*": "runs code",
    "*FromURL*": "fetches from the network",
    "*FromUrl*": "fetches from the network",
    "*[Ff]rom Url*": "fetches from the network",
    "*[Ff]rom URL*": "fetches from the network",
    "*Download*": "fetches from the network",
    "*[Ww]ebhook*": "sends to the network",
    "*HTTP*": "calls the network",
    "*FromDir*": "reads a folder of files",
    "*FromFolder*": "reads a folder of files",
    "VHS_LoadImage*Path": "reads any file",
    "Image Load": "reads any file",
    "Load Image Batch": "reads any file",
    "Load Text File": "reads any file",
    "Load Batch Images": "reads any file",
    "Image Save": "writes to any folder",
    "Save Text File": "writes to any folder",
    "LoadText|pysssss": "reads any file",
    "SaveText|pysssss": "writes to any folder",
    "SaveImageKJ": "writes to any folder",
}
"""Patterns of classes of widely used node packs that are refused, and why."""

# The inputs by which these load a file of the caller's: what another node makes up is not one.
FILE_INPUTS = {
    "LoadImage": "image",
    "LoadImageMask": "image",
    "LoadImageOutput": "image",
    "LoadLatent": "latent",
    "Painter": "mask",
    **{class_type: loader.input for class_type, loader in FILE_LOADERS.items()},
}

_PATH_INPUT = re.compile(
    r"(?:.*_)?(?:image|audio|video|mask|latent|file|filename|filepath|path|dir|directory|folder"
    r"|subfolder|prefix|name)s?(?:_prefix)?",
    re.IGNORECASE,
)
_SEPARATORS = re.compile(r"[/\\]")
_ABSOLUTE = re.compile(r"[/\\~]|[A-Za-z]:[/\\]")
# What looks like a path in an input of any name: a text that begins with a slash is no path.
_CLEARLY_ABSOLUTE = re.compile(r"(?:[A-Za-z]:)?(?:[/\\][^\s/\\]+){2,}[/\\]?")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_LONGEST_PATH = 4_096


@dataclass(frozen=True)
class GraphPolicy:
    """The rules for the graphs of callers.

    Attributes:
        enabled: Whether events may bring graphs at all.
        allow: Names and patterns of node classes that are allowed. A class that is named in full is
            allowed whatever it does.
        deny: Names and patterns of node classes that are refused in any case.
        comfyui_dir: ComfyUI's source, whose nodes of paid services are looked up.
        has_key: Whether the worker itself has a key for those.
        takes_model_urls: Whether loaders may name a model by its address, which is fetched for
            them.
    """

    enabled: bool
    allow: tuple[str, ...]
    deny: tuple[str, ...]
    comfyui_dir: Path
    has_key: bool = False
    takes_model_urls: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the rules that the settings make."""
        return cls(
            settings.takes_caller_graphs,
            settings.caller_graph_allow,
            settings.caller_graph_deny,
            settings.comfyui_dir,
            settings.comfy_org_api_key is not None,
            bool(settings.model_url_hosts),
        )

    def check_enabled(self) -> None:
        """Return if events may bring graphs.

        Raises:
            GraphRefusedError: They may not.
        """
        if not self.enabled:
            raise GraphRefusedError(
                "This worker runs installed workflows only: name one in input.workflow. Its owner "
                "can set CALLER_GRAPHS=on to let events bring graphs of their own."
            )

    def check(self, graph: Graph, *, has_key: bool = False) -> None:
        """Return if a graph has nothing that a caller's may not have.

        Args:
            has_key: Whether the event brings a key for nodes of paid services.

        Raises:
            GraphRefusedError: It has; message and details name the node.
        """
        for node_id, node in graph.nodes.items():
            reason = self._reason(node.class_type, has_key=has_key or self.has_key)
            if reason is not None:
                raise GraphRefusedError(
                    f'The node class "{node.class_type}" of node {node_id} ({node.title}) is '
                    f"refused in graphs of callers: {reason}.",
                    **_where(node_id, node),
                )
            self._check_values(node_id, node)

    def _reason(self, class_type: str, *, has_key: bool) -> str | None:
        if _matches(class_type, self.deny):
            return "CALLER_GRAPH_DENY names it"
        if class_type in self.allow:
            return None
        if not _matches(class_type, self.allow):
            return "CALLER_GRAPH_ALLOW does not name it"
        why = next(
            (why for pattern, why in _refused() if _is(class_type, pattern)),
            None,
        )
        if why is None and not has_key and class_type in _paid_classes(self.comfyui_dir):
            why = "it calls a paid service, and neither the event (comfy_org_api_key) nor the "
            return why + "worker (COMFY_ORG_API_KEY) has a key for it"
        if why is None:
            return None
        return f"it {why}. Its owner can name it in full in CALLER_GRAPH_ALLOW (*,{class_type})"

    def _check_values(self, node_id: NodeId, node: Node) -> None:
        for name, value in node.inputs.items():
            if FILE_INPUTS.get(node.class_type) == name and as_link(value) is not None:
                raise _value_error(
                    node_id, node, name, "must be a file's name, not another node's output"
                )
            if isinstance(value, str) and len(value) <= _LONGEST_PATH:
                self._check_text(node_id, node, name, value.strip())

    def _check_text(self, node_id: NodeId, node: Node, name: str, value: str) -> None:
        is_model = self.takes_model_urls and (node.class_type, name) in MODEL_INPUTS
        if is_model and is_model_address(value):
            return
        if ".." in _SEPARATORS.split(value) or "\0" in value:
            raise _value_error(node_id, node, name, "leads out of its folder")
        is_path = _PATH_INPUT.fullmatch(name) and _ABSOLUTE.match(value)
        if is_path or _CLEARLY_ABSOLUTE.fullmatch(value):
            raise _value_error(node_id, node, name, "is an absolute path; give a relative one")
        if _ADDRESS.fullmatch(value) and node.class_type not in self.allow:
            raise _value_error(
                node_id,
                node,
                name,
                "is an address. Nodes do not fetch: send the file in images, by the name that the "
                "graph gives it",
            )


def _refused() -> Iterator[tuple[str, str]]:
    yield from CORE_CLASSES.items()
    yield from PACK_CLASSES.items()


def _matches(class_type: str, patterns: tuple[str, ...]) -> bool:
    return any(_is(class_type, pattern) for pattern in patterns)


def _is(class_type: str, pattern: str) -> bool:
    # Names may have brackets of their own.
    return class_type == pattern or fnmatchcase(class_type, pattern)


@functools.cache
def _paid_classes(comfyui_dir: Path) -> frozenset[str]:
    return comfy.paid_class_names(comfyui_dir)


def _where(node_id: NodeId, node: Node) -> dict[str, str]:
    return {"node_id": node_id, "class_type": node.class_type, "title": node.title}


def _value_error(node_id: NodeId, node: Node, name: str, problem: str) -> GraphRefusedError:
    return GraphRefusedError(
        f'Input "{name}" of node {node_id} ({node.title}) {problem}.',
        **_where(node_id, node),
        input=name,
    )
