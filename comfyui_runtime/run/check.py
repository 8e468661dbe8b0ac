"""Checks a patched graph against the installed node classes before anything runs."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Protocol

from comfyui_runtime.errors import GraphError, MissingModelError, MissingNodeClassError
from comfyui_runtime.workflow.graph import as_link

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import JsonValue

    from comfyui_runtime.run.messages import Refusal
    from comfyui_runtime.workflow.graph import Graph, NodeId

_MOST_CHOICES = 40
# What ComfyUI's loaders and those of node packs take.
_MODEL_SUFFIXES = frozenset(
    {".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft", ".onnx", ".gguf"}
)


InputSpec = tuple[Any, ...]
"""How a node class declares an input: ``(type or choices, options)``."""


class NodeCatalog(Protocol):
    """The node classes that graphs can name, and what they declare."""

    def has(self, class_type: str) -> bool:
        """Say whether there is such a class."""
        ...

    def load_failure(self, class_type: str) -> str | None:
        """Return why the file of one of ComfyUI's own classes does not import, if that is so."""
        ...

    def input_specs(self, class_type: str) -> Mapping[str, InputSpec]:
        """Return how a class declares its inputs, by their names. May be costly: ask once."""
        ...

    def is_checked(self, class_type: str, input_name: str) -> bool:
        """Say whether the node or ComfyUI checks the input's choices itself."""
        ...


def check_nodes(graph: Graph, catalog: NodeCatalog, node_packs: Mapping[str, str]) -> None:
    """Check what ComfyUI's own validation does not check or reports less clearly.

    Args:
        node_packs: The pack that defines a class, where the workflow says so.

    Raises:
        MissingNodeClassError: No installed pack defines a node's class.
        MissingModelError: A node names a model file that is not there.
        GraphError: An input is not one of the values that its node takes.
    """
    _check_classes(graph, catalog, node_packs)
    _check_choices(graph, catalog)


def raise_refusal(graph: Graph, catalog: NodeCatalog, refusal: Refusal | None) -> None:
    """Return if ComfyUI's validation found nothing wrong.

    Raises:
        MissingModelError: A node names a model file that is not there.
        GraphError: Another error of a node, or of the whole graph.
    """
    if refusal is None:
        return
    if refusal.node_id is None:
        raise GraphError(f"ComfyUI refuses the graph: {refusal.text}. {refusal.details}".strip())
    raise _node_error(graph, catalog, refusal.node_id, refusal)


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
    graph: Graph, catalog: NodeCatalog, node_id: NodeId, refusal: Refusal
) -> GraphError | MissingModelError:
    node = graph.nodes[node_id]
    if refusal.is_unknown_choice:
        spec = catalog.input_specs(node.class_type).get(refusal.input_name)
        return _not_among(graph, node_id, refusal.input_name, _choices(spec) or [])
    at_input = f', input "{refusal.input_name}"' if refusal.input_name else ""
    return GraphError(
        f"ComfyUI refuses node {node_id} ({node.title}){at_input}: {refusal.text}: "
        f"{refusal.details}.",
        node_id=node_id,
        class_type=node.class_type,
        title=node.title,
        input=refusal.input_name,
        type=refusal.kind,
    )


def _check_choices(graph: Graph, catalog: NodeCatalog) -> None:
    """Check inputs that take one of a list; ComfyUI checks only those of its older node classes."""
    for node_id, node in graph.nodes.items():
        values = {name: value for name, value in node.inputs.items() if as_link(value) is None}
        if not values:
            continue
        specs = catalog.input_specs(node.class_type)
        for input_name, value in values.items():
            if catalog.is_checked(node.class_type, input_name):
                continue
            choices = _choices(specs.get(input_name))
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


def _choices(spec: InputSpec | None) -> list[JsonValue] | None:
    """Return what an input takes if it takes one of a list; ``None`` for any other input."""
    match spec:
        case [list() as choices, *_]:
            return list(choices)
        case ["COMBO", {"options": list() as choices, **more}] if not more.get("multiselect"):
            return list(choices)
        case _:
            return None
