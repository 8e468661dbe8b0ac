"""Checks a patched graph against the installed node classes and models before anything runs."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from comfyui_runtime import internals
from comfyui_runtime.errors import (
    GraphError,
    MissingModelError,
    MissingNodeClassError,
    ModelError,
)
from comfyui_runtime.graph import as_link
from comfyui_runtime.model_files import check_content

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pydantic import JsonValue

    from comfyui_runtime.graph import Graph, NodeId
    from comfyui_runtime.patch import PatchedGraph

_MOST_CHOICES = 40


def validate_graph(graph: Graph, run_id: str) -> list[NodeId]:
    """Return the output nodes to run.

    ComfyUI lets a graph pass when one of several outputs is valid; here any node's error is the
    graph's.

    Raises:
        MissingNodeClassError: No installed pack defines a node's class.
        MissingModelError: A node names a model file that is not there.
        GraphError: Another error of a node, or the graph has no output node.
    """
    _check_classes(graph)
    _check_choices(graph)
    error, outputs, node_errors = internals.validate(run_id, graph.to_api())
    for node_id, report in node_errors.items():
        raise _node_error(graph, node_id, report["errors"][0])
    if error is not None:
        raise GraphError(
            f"ComfyUI refuses the graph: {error['message']}. {error['details']}".strip()
        )
    return outputs


class ModelCheck:
    """Checks the model files of graphs; each file once, as long as it does not change."""

    def __init__(self) -> None:
        self._good: set[tuple[Path, int, int]] = set()

    def check(self, patched: PatchedGraph) -> None:
        """Check by their headers the files that a graph's nodes load.

        Raises:
            ModelError: A file is truncated, not what its name says, or of another architecture;
                message and details name the file and the node.
        """
        for use in patched.models:
            path = internals.model_path(use.model.folder, use.model.file)
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


def _check_classes(graph: Graph) -> None:
    known = internals.node_classes()
    for node_id, node in graph.nodes.items():
        if node.class_type not in known:
            raise MissingNodeClassError(
                f'No installed node pack defines "{node.class_type}", the class of node {node_id} '
                f"({node.title}). Install its pack below custom_nodes/ (./provision.sh all "
                "installs those of the bundled workflows), and look for its import error with "
                "`python -m handler check`.",
                node_id=node_id,
                class_type=node.class_type,
            )


def _node_error(
    graph: Graph, node_id: NodeId, error: Mapping[str, Any]
) -> GraphError | MissingModelError:
    node = graph.nodes[node_id]
    extra = error.get("extra_info") or {}
    input_name = str(extra.get("input_name") or "")
    details: dict[str, JsonValue] = {
        "node_id": node_id,
        "class_type": node.class_type,
        "title": node.title,
        "input": input_name,
        "type": error["type"],
    }
    if error["type"] == "value_not_in_list":
        allowed = _choices(node.class_type, input_name) or []
        return _not_among(graph, node_id, input_name, allowed)
    at_input = f', input "{input_name}"' if input_name else ""
    return GraphError(
        f"ComfyUI refuses node {node_id} ({node.title}){at_input}: {error['message']}: "
        f"{error['details']}.",
        **details,
    )


def _check_choices(graph: Graph) -> None:
    """Check inputs that take one of a list; ComfyUI checks only those of its older node classes."""
    for node_id, node in graph.nodes.items():
        for input_name, value in node.inputs.items():
            choices = _choices(node.class_type, input_name)
            if choices is not None and as_link(value) is None and value not in choices:
                raise _not_among(graph, node_id, input_name, choices)


def _not_among(
    graph: Graph, node_id: NodeId, input_name: str, choices: list[JsonValue]
) -> GraphError | MissingModelError:
    node = graph.nodes[node_id]
    value = node.inputs[input_name]
    where = f"node {node_id} ({node.title})"
    details: dict[str, JsonValue] = {
        "node_id": node_id,
        "class_type": node.class_type,
        "title": node.title,
        "input": input_name,
        "allowed": choices[:_MOST_CHOICES],
    }
    text = ", ".join(str(choice) for choice in choices[:_MOST_CHOICES]) or "none is installed"
    if isinstance(value, str) and PurePath(value).suffix in internals.model_suffixes():
        return MissingModelError(
            f'The model file "{value}", which {where} loads, is in none of the model folders. '
            "Put it there (./provision.sh fetches those of the bundled workflows) or name one of: "
            f"{text}.",
            **details,
            file=value,
        )
    return GraphError(
        f'Input "{input_name}" of {where} is {value!r}; it must be one of {text}.', **details
    )


def _choices(class_type: str, input_name: str) -> list[JsonValue] | None:
    """Return what an input takes if it takes one of a list; ``None`` for any other input."""
    spec = internals.input_spec(class_type, input_name)
    match spec:
        case [list() as choices, *_]:
            return list(choices)
        case ["COMBO", {"options": list() as choices, **more}] if not more.get("multiselect"):
            return list(choices)
        case _:
            return None
