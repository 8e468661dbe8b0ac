"""Puts a request's parameters and images into a workflow's graph."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import JsonValue

from comfyui_runtime.errors import ParameterError, WorkflowError
from comfyui_runtime.workflow.files import FileUse
from comfyui_runtime.workflow.graph import check_links
from comfyui_runtime.workflow.manifest import Branch, InputRef, branch_is_off
from comfyui_runtime.workflow.parameters import resolve_parameters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from comfyui_runtime.workflow.files import InputFile
    from comfyui_runtime.workflow.graph import Graph, NodeId
    from comfyui_runtime.workflow.images import PixelImage
    from comfyui_runtime.workflow.manifest import FileInput, ImageInput, Model, Workflow
    from comfyui_runtime.workflow.parameters import ParameterValue


@dataclass(frozen=True)
class ModelUse:
    """A model file, and the node that loads it."""

    node_id: NodeId
    model: Model


@dataclass(frozen=True)
class PatchedGraph:
    """A graph ready to run.

    Attributes:
        graph: Only the nodes that this request needs.
        images: For each node that loads an image of the caller's, that image.
        files: For each node that loads a file of the caller's, that file.
        models: The model files that nodes of this graph load, as the manifest describes them.
        node_packs: For each node class that is not ComfyUI's own, the pack that defines it.
        comfy_org_api_key: For nodes that call paid services; a secret.
    """

    graph: Graph
    images: Mapping[NodeId, PixelImage]
    models: tuple[ModelUse, ...] = ()
    node_packs: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[NodeId, FileUse] = field(default_factory=dict)
    comfy_org_api_key: str | None = field(default=None, repr=False)


def patch(
    workflow: Workflow,
    values: Mapping[str, ParameterValue],
    images: Mapping[str, PixelImage],
    files: Mapping[str, InputFile] | None = None,
) -> PatchedGraph:
    """Return the workflow's graph with values and inputs put in and idle branches removed.

    Args:
        values: Every parameter's value, as ``resolve_parameters`` returns them.
        images: The caller's images by name, as ``check_image_names`` accepted them.
        files: The caller's files by name, as ``check_file_names`` accepted them.

    Raises:
        WorkflowError: The resulting graph has a link that leads nowhere.
    """
    files = files or {}
    graph = _patch_graph(workflow, values, {*images, *files})
    by_node = {
        image.node: images[name]
        for name, image in workflow.manifest.images.items()
        if name in images and image.node in graph.nodes
    }
    uses = tuple(
        ModelUse(node_id, model)
        for model in workflow.manifest.models
        for node_id, node in graph.nodes.items()
        if model.file in node.inputs.values()
    )
    return PatchedGraph(
        graph, by_node, uses, workflow.manifest.node_packs, _files_by_node(workflow, graph, files)
    )


def _files_by_node(
    workflow: Workflow, graph: Graph, files: Mapping[str, InputFile]
) -> dict[NodeId, FileUse]:
    uses = {}
    for name, file in workflow.manifest.files.items():
        node = graph.nodes.get(file.node)
        loader = None if node is None else file.loader(node.class_type)
        if name in files and loader is not None:
            uses[file.node] = FileUse(files[name], loader)
    return uses


def default_graph(workflow: Workflow) -> Graph:
    """Return the graph that an event with the required inputs and no parameters runs.

    Raises:
        WorkflowError: It has a link that leads nowhere.
    """
    manifest = workflow.manifest
    required = {name for name, image in manifest.images.items() if image.required}
    required |= {name for name, file in manifest.files.items() if file.required}
    return _patch_graph(workflow, resolve_parameters(workflow.manifest.parameters, {}), required)


def check_image_names(workflow: Workflow, names: set[str]) -> None:
    """Check that the images given are those that the workflow takes.

    Raises:
        ParameterError: One is missing or one too many; the message names it.
    """
    _check_names(workflow, "image", workflow.manifest.images, names)


def check_file_names(workflow: Workflow, names: set[str]) -> None:
    """Check that the files given are those that the workflow takes.

    Raises:
        ParameterError: One is missing or one too many; the message names it.
    """
    _check_names(workflow, "file", workflow.manifest.files, names)


def _check_names(
    workflow: Workflow, what: str, taken: Mapping[str, ImageInput | FileInput], names: set[str]
) -> None:
    for name in sorted(names - set(taken)):
        raise ParameterError(
            f'The workflow {workflow.name} takes no {what} "{name}". It takes: '
            f"{', '.join(taken) or 'none'}.",
            **{what: name},
            allowed=list[JsonValue](taken),
        )
    for name, declared in taken.items():
        if declared.required and name not in names:
            raise ParameterError(
                f'The workflow {workflow.name} needs the {what} "{name}" ({declared.description})',
                **{what: name},
            )


def _patch_graph(
    workflow: Workflow, values: Mapping[str, ParameterValue], given: set[str]
) -> Graph:
    graph = workflow.graph
    for name, parameter in workflow.manifest.parameters.items():
        for text in parameter.patches:
            ref = InputRef.parse(text)
            graph = graph.with_input(ref.node_id, ref.name, values[name])
    for branch in workflow.manifest.branches:
        if branch_is_off(branch, values, given):
            graph = _take_out(graph, branch)
    try:
        check_links(graph)
    except WorkflowError as error:
        raise WorkflowError(
            f"{workflow.name}: with these parameters: {error.message}", **error.details
        ) from error
    return graph


def _take_out(graph: Graph, branch: Branch) -> Graph:
    fed_others = graph.linked_ids()
    for text, value in branch.set.items():
        ref = InputRef.parse(text)
        if ref.node_id in graph.nodes:
            graph = graph.with_input(ref.node_id, ref.name, value)
    for node_id, stand_ins in branch.bypass.items():
        if node_id in graph.nodes:
            graph = _bypass(graph, node_id, stand_ins)
    return _drop_idle(graph, fed_others)


def _bypass(graph: Graph, bypassed: NodeId, stand_ins: Mapping[int, str]) -> Graph:
    inputs = graph.nodes[bypassed].inputs
    graph = graph.without_node(bypassed)
    for node_id, node in graph.nodes.items():
        for name, link in node.links():
            if link.node_id == bypassed and link.output in stand_ins:
                graph = graph.with_input(node_id, name, inputs[stand_ins[link.output]])
    return graph


def _drop_idle(graph: Graph, fed_others: set[NodeId]) -> Graph:
    """Remove the nodes whose outputs are no longer used, until every node's are."""
    while idle := (fed_others & graph.nodes.keys()) - graph.linked_ids():
        for node_id in idle:
            graph = graph.without_node(node_id)
    return graph
