"""Checks a patched graph against the installed node classes and models before anything runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from comfyui_runtime.errors import GraphError, ModelError, WorkflowError
from comfyui_runtime.in_process import comfy
from comfyui_runtime.run.check import check_nodes, raise_refusal
from comfyui_runtime.run.model_files import check_content
from comfyui_runtime.workflow.graph import parse_graph

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from comfyui_runtime.run.check import InputSpec
    from comfyui_runtime.run.messages import Refusal
    from comfyui_runtime.workflow.graph import Graph, NodeId
    from comfyui_runtime.workflow.patch import PatchedGraph


@dataclass(frozen=True)
class ValidGraph:
    """A graph that ComfyUI accepts.

    Attributes:
        prompt: The graph in API format, its values as their inputs declare them.
        outputs_to_run: The output nodes.
        warnings: A sentence for each input that the graph lacked and its class's default filled.
    """

    prompt: dict[str, Any]
    outputs_to_run: list[NodeId]
    warnings: tuple[str, ...]


def take_graph(patched: PatchedGraph) -> PatchedGraph:
    """Return a graph as ComfyUI's server takes it.

    Packs' on-prompt handlers may change it, and classes that newer ones have replaced are
    exchanged.

    Raises:
        GraphError: A handler leaves no graph, or a replaced node lacks an input.
    """
    prompt = comfy.take_prompt(patched.graph.to_api())
    comfy.replace_nodes(prompt)
    if prompt == patched.graph.to_api():
        return patched
    try:
        graph = parse_graph(prompt)
    except WorkflowError as error:
        raise GraphError(
            f"A node pack's on-prompt handler, or a replaced node, broke the graph: "
            f"{error.message}",
            **error.details,
        ) from error
    return replace(
        patched,
        graph=graph,
        images={node: image for node, image in patched.images.items() if node in graph.nodes},
        files={node: use for node, use in patched.files.items() if node in graph.nodes},
        models=tuple(use for use in patched.models if use.node_id in graph.nodes),
    )


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


def validate_graph(graph: Graph, run_id: str, node_packs: Mapping[str, str]) -> ValidGraph:
    """Return what ComfyUI's executor is to run.

    A graph from an older release may lack inputs that a class has got since: each takes its
    declared default.

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
    prompt = graph.to_api()
    warnings: list[str] = []
    refusals, outputs_to_run = comfy.validate(run_id, prompt)
    # Once more for each default: an input's value may decide what else its class declares.
    while filled := _fill_missing(graph, prompt, refusals):
        warnings += filled
        refusals, outputs_to_run = comfy.validate(run_id, prompt)
    raise_refusal(graph, catalog, next(iter(refusals), None))
    return ValidGraph(prompt, outputs_to_run, tuple(warnings))


def _fill_missing(graph: Graph, prompt: dict[str, Any], refusals: Iterable[Refusal]) -> list[str]:
    """Give missing inputs their declared defaults; return a sentence for each."""
    filled = []
    for refusal in refusals:
        if refusal.node_id is None or not refusal.is_missing_input:
            continue
        node, name = graph.nodes[refusal.node_id], refusal.input_name
        inputs = prompt[refusal.node_id]["inputs"]
        default = comfy.declared_default(node.class_type, name, inputs)
        if default is None or name in inputs:
            continue
        inputs[name] = default
        filled.append(
            f'Node {refusal.node_id} ({node.title}) has no input "{name}", which {node.class_type} '
            f"requires: it took the declared default, {default!r}. Export the graph again from the "
            "installed ComfyUI to choose another value."
        )
    return filled


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
