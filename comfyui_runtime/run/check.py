"""Checks a patched graph against the node classes that are there, before anything runs."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Protocol

from comfyui_runtime.errors import GraphError, MissingModelError, MissingNodeClassError
from comfyui_runtime.workflow.graph import as_link

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import JsonValue

    from comfyui_runtime.workflow.graph import Graph, NodeId

_MOST_CHOICES = 40
# What ComfyUI's loaders take (its folder_paths.supported_pt_extensions), and node packs' own.
_MODEL_SUFFIXES = frozenset(
    {".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft", ".onnx", ".gguf"}
)


class NodeCatalog(Protocol):
    """What is known of the node classes that graphs can name."""

    def has(self, class_type: str) -> bool:
        """Say whether there is such a class."""
        ...

    def load_failure(self, class_type: str) -> str | None:
        """Return why the file of one of ComfyUI's own classes does not import, if that is so."""
        ...

    def input_spec(self, class_type: str, input_name: str) -> tuple[Any, ...] | None:
        """Return how a class declares an input, ``(type or choices, options)``, if it does."""
        ...

    def is_checked(self, class_type: str, input_name: str) -> bool:
        """Say whether the node or ComfyUI checks the input's choices itself."""
        ...


def check_nodes(graph: Graph, catalog: NodeCatalog, node_packs: Mapping[str, str]) -> None:
    """Check what ComfyUI's own validation does not, or says less clearly.

    Args:
        node_packs: The pack that defines a class, where the workflow says so.

    Raises:
        MissingNodeClassError: No installed pack defines a node's class.
        MissingModelError: A node names a model file that is not there.
        GraphError: An input is not one of the values that its node takes.
    """
    _check_classes(graph, catalog, node_packs)
    _check_choices(graph, catalog)


def raise_refusal(
    graph: Graph,
    catalog: NodeCatalog,
    error: Mapping[str, Any] | None,
    node_errors: Mapping[NodeId, Mapping[str, Any]],
) -> None:
    """Return if ComfyUI's validation found nothing wrong.

    Args:
        error: Its error for the whole graph.
        node_errors: Its errors by node.

    Raises:
        MissingModelError: A node names a model file that is not there.
        GraphError: Another error of a node, or of the whole graph.
    """
    for node_id, report in node_errors.items():
        raise _node_error(graph, catalog, node_id, report["errors"][0])
    if error is not None:
        raise GraphError(
            f"ComfyUI refuses the graph: {error['message']}. {error['details']}".strip()
        )


def _check_classes(graph: Graph, catalog: NodeCatalog, node_packs: Mapping[str, str]) -> None:
    for node_id, node in graph.nodes.items():
        if not catalog.has(node.class_type):
            details: dict[str, JsonValue] = {"node_id": node_id, "class_type": node.class_type}
            failure = catalog.load_failure(node.class_type)
            if failure is not None:
                raise MissingNodeClassError(
                    f'ComfyUI\'s own file that defines "{node.class_type}", the class of node '
                    f"{node_id} ({node.title}), does not import: {failure}.",
                    **details,
                )
            its_pack = "its pack"
            if node.class_type in node_packs:
                details["pack"] = node_packs[node.class_type]
                its_pack = f"the pack {details['pack']}"
            raise MissingNodeClassError(
                f'No installed node pack defines "{node.class_type}", the class of node {node_id} '
                f"({node.title}). Install {its_pack} below custom_nodes/ (./provision.sh all "
                "installs those of the bundled workflows), and look for its import error with "
                "`python -m handler check`.",
                **details,
            )


def _node_error(
    graph: Graph, catalog: NodeCatalog, node_id: NodeId, error: Mapping[str, Any]
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
        allowed = _choices(catalog.input_spec(node.class_type, input_name)) or []
        return _not_among(graph, node_id, input_name, allowed)
    at_input = f', input "{input_name}"' if input_name else ""
    return GraphError(
        f"ComfyUI refuses node {node_id} ({node.title}){at_input}: {error['message']}: "
        f"{error['details']}.",
        **details,
    )


def _check_choices(graph: Graph, catalog: NodeCatalog) -> None:
    """Check inputs that take one of a list; ComfyUI checks only those of its older node classes."""
    for node_id, node in graph.nodes.items():
        for input_name, value in node.inputs.items():
            if as_link(value) is not None or catalog.is_checked(node.class_type, input_name):
                continue
            choices = _choices(catalog.input_spec(node.class_type, input_name))
            if choices is not None and value not in choices:
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
    if isinstance(value, str) and PurePath(value).suffix in _MODEL_SUFFIXES:
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


def _choices(spec: tuple[Any, ...] | None) -> list[JsonValue] | None:
    """Return what an input takes if it takes one of a list; ``None`` for any other input."""
    match spec:
        case [list() as choices, *_]:
            return list(choices)
        case ["COMBO", {"options": list() as choices, **more}] if not more.get("multiselect"):
            return list(choices)
        case _:
            return None
