"""Checks a graph against definitions of node classes, without ComfyUI.

Stricter than ComfyUI in two ways: an input that no class declares is a problem, and what goes
through a wildcard keeps its type, so that a model that is led into a VAE's place is seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from comfyui_runtime.workflow.graph import Graph, Link, Node, as_link
from ghibli_classic.node_definitions import WILDCARD, Definition, Input

# Left by the upload button of ComfyUI's web page, which writes it into the graphs it exports.
# ComfyUI leaves out what a class does not declare.
INPUTS_OF_NEWER_RELEASES = frozenset({"resolution_steps"})
FRONT_END_INPUTS = frozenset({"choose image to upload"})

_PYTHON_TYPES: Mapping[str, tuple[type, ...]] = {
    "INT": (int,),
    "FLOAT": (int, float),
    "STRING": (str,),
    "BOOLEAN": (bool,),
}


def problems(
    graph: Graph, definitions: Mapping[str, Definition], folders: Mapping[str, frozenset[str]]
) -> list[str]:
    """Return everything in a graph that its classes do not declare.

    Args:
        folders: Names of the model files that are there, by folder.
    """
    return [
        f"{node_id} ({node.class_type}): {problem}"
        for node_id, node in graph.nodes.items()
        for problem in _of_node(graph, node, definitions, folders)
    ]


def _of_node(
    graph: Graph,
    node: Node,
    definitions: Mapping[str, Definition],
    folders: Mapping[str, frozenset[str]],
) -> Iterator[str]:
    definition = definitions.get(node.class_type)
    if definition is None:
        yield "unknown class"
        return
    for name in definition.required.keys() - node.inputs.keys():
        yield f"{name} is missing"
    for name, value in node.inputs.items():
        declared = definition.inputs.get(name)
        link = as_link(value)
        if declared is None:
            if name not in FRONT_END_INPUTS | INPUTS_OF_NEWER_RELEASES:
                yield f"{name} is not declared"
        elif link is None:
            yield from (f"{name} {problem}" for problem in _of_constant(value, declared, folders))
        else:
            given = output_type(graph, link, definitions)
            if given != declared.type and WILDCARD not in (given, declared.type):
                yield f"{name} takes {declared.type} and gets {given}"


def _of_constant(
    value: JsonValue, declared: Input, folders: Mapping[str, frozenset[str]]
) -> Iterator[str]:
    if declared.type == "COMBO":
        names = folders.get(declared.folder or "", frozenset())
        if value not in declared.choices and value not in names:
            yield f"may not be {value!r}"
        return
    types = _PYTHON_TYPES.get(declared.type)
    if types is None:
        yield f"takes {declared.type} and gets the constant {value!r}"
    elif not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        yield f"takes {declared.type} and gets {value!r}"
    elif isinstance(value, int | float):
        if declared.minimum is not None and value < declared.minimum:
            yield f"{value} is below {declared.minimum}"
        if declared.maximum is not None and value > declared.maximum:
            yield f"{value} is above {declared.maximum}"


def output_type(graph: Graph, link: Link, definitions: Mapping[str, Definition]) -> str:
    """Return the type that a link carries, seen through wildcards.

    ``nothing`` where the node has no such output.
    """
    node = graph.nodes[link.node_id]
    definition = definitions.get(node.class_type)
    if definition is None:
        return WILDCARD
    if link.output >= len(definition.outputs):
        return "nothing"
    declared = definition.outputs[link.output]
    sources = [source for _, source in node.links()]
    if declared == WILDCARD and len(sources) == 1:
        return output_type(graph, sources[0], definitions)
    return declared
