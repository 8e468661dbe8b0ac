"""From a graph that an event brings to what an installed workflow is."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from comfyui_runtime.errors import GraphError, WorkflowError
from comfyui_runtime.workflow.editor import (
    convert,
    is_editor_format,
    parse_definitions,
    parse_document,
)
from comfyui_runtime.workflow.files import FILE_LOADERS
from comfyui_runtime.workflow.graph import Graph, Node, parse_graph
from comfyui_runtime.workflow.manifest import FileInput, ImageInput, Manifest, Workflow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pydantic import JsonValue

    from comfyui_runtime.workflow.editor import EditorDocument
    from comfyui_runtime.workflow.editor.document import SavedGraph
    from comfyui_runtime.workflow.graph import NodeId

    Definitions = Callable[[Iterable[str]], Mapping[str, Mapping[str, Any]]]

log = logging.getLogger(__name__)

CALLER_GRAPH = "(graph)"
"""The name, in responses, logs and metrics, of whatever graph an event brought."""

# A subgraph may hold two of another, which holds two of another, and so on.
_MOST_NODES = 20_000
_IMAGE, _MASK = 0, 1
_ALPHA = "alpha"
# A name may say in which of its folders ComfyUI looks for it.
_FOLDER = re.compile(r"\s*\[(?:input|output|temp)\]\s*$")


def caller_graph(data: dict[str, Any], definitions: Definitions | None) -> Graph:
    """Read a graph in API format, or convert one that ComfyUI's editor saved.

    Args:
        definitions: Returns what node classes declare, for the editor's format.

    Raises:
        GraphError: It is neither, or damaged, or has a cycle.
    """
    try:
        if is_editor_format(data):
            data = _converted(data, definitions)
        return parse_graph(data)
    except WorkflowError as error:
        raise GraphError(error.message, **error.details) from error
    except RecursionError as error:
        raise GraphError("The graph's values are nested too deeply.") from error


def caller_workflow(graph: Graph) -> Workflow:
    """Return the workflow that a caller's graph is.

    It takes the images and files that its loaders name, each under the file's name, and has no
    parameters: the caller has put its values in.

    Raises:
        GraphError: It has only loaders whose pictures nobody takes, or loads one file in two ways.
    """
    graph = _with_one_loader(_with_mask_loaders_replaced(graph))
    if not graph.nodes:
        raise GraphError("The graph loads pictures and makes nothing of them.")
    images = {
        _file_name(node): ImageInput(node=node_id, description=f"What {node.title} loads.")
        for node_id, node in graph.nodes.items()
        if _loads_image(node)
    }
    digest = hashlib.sha256(json.dumps(graph.to_api(), sort_keys=True).encode()).hexdigest()
    manifest = Manifest(
        title="The event's graph",
        description="A graph that came with the event.",
        version=digest[:12],
        images=images,
        files=_files(graph),
    )
    return Workflow(CALLER_GRAPH, graph, manifest, digest)


def _files(graph: Graph) -> dict[str, FileInput]:
    files: dict[str, FileInput] = {}
    for node_id, node in graph.nodes.items():
        loader = FILE_LOADERS.get(node.class_type)
        named = None if loader is None else node.inputs.get(loader.input)
        if loader is None or not isinstance(named, str) or not named:
            continue
        name = _FOLDER.sub("", named).removeprefix(loader.folder)
        if name in files:
            raise GraphError(
                f'Nodes {files[name].node} and {node_id} both load "{name}": link what the second '
                "one feeds to the first.",
                node_id=node_id,
            )
        files[name] = FileInput(
            node=node_id, media=loader.media, description=f"What {node.title} loads."
        )
    return files


def _converted(data: dict[str, Any], definitions: Definitions | None) -> dict[str, Any]:
    if definitions is None:
        raise GraphError(
            "The graph is in the editor's format, which can be converted only where ComfyUI runs. "
            "Use Workflow > Export (API) in ComfyUI."
        )
    document = parse_document(data)
    if _expanded_nodes(document) > _MOST_NODES:
        raise GraphError(f"The graph has more than {_MOST_NODES} nodes, its subgraphs unfolded.")
    declared = parse_definitions(definitions(node.type for node in document.nodes()))
    try:
        return convert(document, declared).graph
    except (AttributeError, KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        log.warning("graph of the editor's cannot be converted", exc_info=True)
        raise GraphError(
            "The graph, in the editor's format, cannot be converted: it is damaged. Open it in "
            "ComfyUI and save it again, or use Workflow > Export (API)."
        ) from error


def _expanded_nodes(document: EditorDocument) -> int:
    """Return how many nodes there are once subgraphs, which may be nested, are unfolded."""
    by_id = {graph.id: graph for graph in document.subgraphs}
    # One that contains itself counts as nothing here: the conversion says what is wrong with it.
    counts: dict[str, int] = {}

    def count(graph: SavedGraph) -> int:
        if graph.id not in counts:
            counts[graph.id] = 0
            inner = (count(by_id[node.type]) for node in graph.nodes if node.type in by_id)
            counts[graph.id] = len(graph.nodes) + sum(inner)
        return counts[graph.id]

    return count(document.root)


def _loads_image(node: Node) -> bool:
    return node.class_type == "LoadImage" and isinstance(node.inputs.get("image"), str)


def _file_name(node: Node) -> str:
    return _FOLDER.sub("", str(node.inputs["image"]))


def _with_mask_loaders_replaced(graph: Graph) -> Graph:
    """Have each ``LoadImageMask`` made of ``LoadImage``, through which callers' images come."""
    for node_id, node in graph.nodes.items():
        channel = node.inputs.get("channel", _ALPHA)
        if node.class_type != "LoadImageMask" or not isinstance(channel, str):
            continue
        image = {"image": node.inputs.get("image")}
        if channel == _ALPHA:
            graph = graph.with_node(node_id, replace(node, class_type="LoadImage", inputs=image))
            graph = _relinked(graph, (node_id, _IMAGE), (node_id, _MASK))
            continue
        loader_id = _unused(graph, f"{node_id}:image")
        graph = graph.with_node(loader_id, Node("LoadImage", image, node.title))
        inputs: dict[str, JsonValue] = {"image": [loader_id, _IMAGE], "channel": channel}
        graph = graph.with_node(node_id, Node("ImageToMask", inputs, node.title))
    return graph


def _with_one_loader(graph: Graph) -> Graph:
    """Have each file loaded by one node, and none by a node whose output nobody takes."""
    linked = graph.linked_ids()
    first: dict[str, NodeId] = {}
    for node_id, node in graph.nodes.items():
        if not _loads_image(node):
            continue
        if node_id not in linked:
            graph = graph.without_node(node_id)
            continue
        same = first.setdefault(_file_name(node), node_id)
        if same != node_id:
            for output in (_IMAGE, _MASK):
                graph = _relinked(graph, (node_id, output), (same, output))
            graph = graph.without_node(node_id)
    return graph


def _relinked(graph: Graph, old: tuple[NodeId, int], new: tuple[NodeId, int]) -> Graph:
    for node_id, node in graph.nodes.items():
        for name, link in node.links():
            if (link.node_id, link.output) == old:
                graph = graph.with_input(node_id, name, list(new))
    return graph


def _unused(graph: Graph, node_id: NodeId) -> NodeId:
    while node_id in graph.nodes:
        node_id += "'"
    return node_id
