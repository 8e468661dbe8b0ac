"""Checks a patched graph against the installed node classes and models before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfyui_runtime.errors import ModelError
from comfyui_runtime.in_process import comfy
from comfyui_runtime.run.check import check_nodes, raise_refusal
from comfyui_runtime.run.model_files import check_content

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from comfyui_runtime.run.check import InputSpec
    from comfyui_runtime.workflow.graph import Graph, NodeId
    from comfyui_runtime.workflow.patch import PatchedGraph


class _InProcessCatalog:
    """The node classes of the ComfyUI in this process."""

    def has(self, class_type: str) -> bool:
        return class_type in comfy.node_classes()

    def load_failure(self, class_type: str) -> str | None:
        return comfy.load_failure(class_type)

    def input_specs(self, class_type: str) -> Mapping[str, InputSpec]:
        return comfy.input_specs(class_type)

    def is_checked(self, class_type: str, input_name: str) -> bool:
        return comfy.checks_itself(class_type, input_name)


def validate_graph(graph: Graph, run_id: str, node_packs: Mapping[str, str]) -> list[NodeId]:
    """Return the output nodes to run.

    ComfyUI lets a graph pass when one of several outputs is valid; here any node's error is the
    graph's.

    Args:
        node_packs: The pack that defines a class, where the workflow says so.

    Raises:
        MissingNodeClassError: No installed pack defines a node's class.
        MissingModelError: A node names a model file that is not there.
        GraphError: Another error of a node, or the graph has no output node.
    """
    catalog = _InProcessCatalog()
    check_nodes(graph, catalog, node_packs)
    refusal, outputs_to_run = comfy.validate(run_id, graph.to_api())
    raise_refusal(graph, catalog, refusal)
    return outputs_to_run


class ModelCheck:
    """Checks the model files of graphs, each file once until it changes."""

    def __init__(self) -> None:
        self._good: set[tuple[Path, int, int]] = set()

    def check(self, patched: PatchedGraph) -> None:
        """Check by their headers the files that a graph's nodes load.

        Raises:
            ModelError: A file is truncated, not what its name says, or of another architecture;
                message and details name the file and the node.
        """
        for use in patched.models:
            path = comfy.model_path(use.model.folder, use.model.file)
            if path is None:
                continue  # ComfyUI's own validation has looked for it
            status = path.stat()
            state = (path, status.st_size, status.st_mtime_ns)
            if state in self._good:
                continue
            node = patched.graph.nodes[use.node_id]
            try:
                check_content(path, use.model)
            except ModelError as error:
                error.message += f" Node {use.node_id} ({node.title}) loads it."
                error.details |= {
                    "node_id": use.node_id,
                    "class_type": node.class_type,
                    "title": node.title,
                }
                raise
            self._good.add(state)
