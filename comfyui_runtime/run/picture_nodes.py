"""Replaces the nodes that load and save for those of the runtime that runs the graph."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from comfyui_runtime.workflow.files import FileUse
    from comfyui_runtime.workflow.graph import Graph, Node, NodeId
    from comfyui_runtime.workflow.images import PixelImage
    from comfyui_runtime.workflow.patch import PatchedGraph

PICTURE_OUTPUTS = frozenset({"SaveImage", "SaveImageAdvanced", "PreviewImage"})
MASK_LOADER = "LoadImageMask"
# What SaveImageAdvanced is asked for where it does as SaveImage does; anything else (16 bits,
# OpenEXR) is more than 8-bit pixels can hold, and comes as the file that the node writes.
_PLAIN_PNG = {"format": "png", "format.bit_depth": "8-bit", "format.input_color_space": "sRGB"}
_RUN_MARK = "run_id"


class PictureNodes(Protocol):
    """Creates the nodes through which a runtime gives and takes pictures."""

    def input_node(self, node: Node, image: PixelImage) -> Node:
        """Return the node that gives an image, or a mask, in place of the graph's own."""
        ...

    def file_node(self, node: Node, use: FileUse) -> Node:
        """Return the graph's node with the name under which it will find the caller's file."""
        ...

    def output_node(self, node: Node) -> Node:
        """Return the node that takes pictures, in place of the graph's own."""
        ...

    def is_output(self, class_type: str) -> bool:
        """Say whether a node class is one that ComfyUI starts from."""
        ...


def with_picture_nodes(patched: PatchedGraph, run_id: str, pictures: PictureNodes) -> Graph:
    """Return the graph with a runtime's nodes for the caller's inputs and for the results.

    What output nodes wrote is gone after the run: each gets an input that no class declares and
    that differs from run to run, so that ComfyUI's cache never answers for them.
    """
    graph = patched.graph
    for node_id, node in patched.graph.nodes.items():
        new = _replacement(node_id, node, patched, pictures)
        if pictures.is_output(new.class_type):
            new = replace(new, inputs={**new.inputs, _RUN_MARK: run_id})
        if new is not node:
            graph = graph.with_node(node_id, new)
    return graph


def takes_pictures(node: Node) -> bool:
    """Say whether a node's pictures are taken as pixels, rather than as files."""
    return (
        node.class_type in PICTURE_OUTPUTS
        and "images" in node.inputs
        and all(node.inputs.get(name, value) == value for name, value in _PLAIN_PNG.items())
    )


def _replacement(
    node_id: NodeId, node: Node, patched: PatchedGraph, pictures: PictureNodes
) -> Node:
    if node_id in patched.images:
        return pictures.input_node(node, patched.images[node_id])
    if node_id in patched.files:
        return pictures.file_node(node, patched.files[node_id])
    return pictures.output_node(node) if takes_pictures(node) else node
