"""A prompt graph in ComfyUI's API format: nodes by id, links as ``[node id, output index]``."""

from __future__ import annotations

import copy
import graphlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, RootModel, ValidationError

from comfyui_runtime.errors import WorkflowError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NodeId = str


@dataclass(frozen=True)
class Link:
    """An input that takes another node's output."""

    node_id: NodeId
    output: int


@dataclass(frozen=True)
class Node:
    """One node: its class, its inputs (constants or links, as in the API format), its title."""

    class_type: str
    inputs: Mapping[str, JsonValue]
    title: str

    def links(self) -> Iterator[tuple[str, Link]]:
        """Yield each linked input's name with its link."""
        for name, value in self.inputs.items():
            link = as_link(value)
            if link is not None:
                yield name, link


@dataclass(frozen=True)
class Graph:
    """Nodes by id. Every change returns a new graph."""

    nodes: Mapping[NodeId, Node]

    def with_input(self, node_id: NodeId, name: str, value: JsonValue) -> Graph:
        """Return the graph with one input of one node set."""
        node = self.nodes[node_id]
        return self.with_node(node_id, replace(node, inputs={**node.inputs, name: value}))

    def with_node(self, node_id: NodeId, node: Node) -> Graph:
        """Return the graph with one node added, replacing any with the same id."""
        return Graph({**self.nodes, node_id: node})

    def without_node(self, node_id: NodeId) -> Graph:
        """Return the graph without one node; links to it are left as they are."""
        return Graph({key: node for key, node in self.nodes.items() if key != node_id})

    def linked_ids(self) -> set[NodeId]:
        """Return the ids of the nodes whose outputs another node takes."""
        return {link.node_id for node in self.nodes.values() for _, link in node.links()}

    def texts(self) -> set[str]:
        """Return every text that an input has as its value, such as the name of a file."""
        values = (value for node in self.nodes.values() for value in node.inputs.values())
        return {value for value in values if isinstance(value, str)}

    def to_api(self) -> dict[str, dict[str, Any]]:
        """Return a copy of the graph in the form that ComfyUI takes."""
        return {
            node_id: {
                "class_type": node.class_type,
                "inputs": copy.deepcopy(dict(node.inputs)),
                "_meta": {"title": node.title},
            }
            for node_id, node in self.nodes.items()
        }


class _ApiMeta(BaseModel):
    model_config = ConfigDict(extra="ignore")

    title: str | None = None


class _ApiNode(BaseModel):
    model_config = ConfigDict(extra="ignore")

    class_type: str = Field(min_length=1)
    inputs: dict[str, JsonValue] = Field(default_factory=dict)
    meta: _ApiMeta = Field(default_factory=_ApiMeta, alias="_meta")


class _ApiGraph(RootModel[dict[str, _ApiNode]]):
    pass


def parse_graph(data: object) -> Graph:
    """Read a graph in API format, as ComfyUI's "Export (API)" writes it.

    Raises:
        WorkflowError: The data is not such a graph, a link leads nowhere, or links form a cycle.
    """
    if isinstance(data, dict) and "nodes" in data and "links" in data:
        raise WorkflowError(
            "The graph is in the editor's format. In ComfyUI use Workflow > Export (API) instead."
        )
    try:
        nodes = _ApiGraph.model_validate(data).root
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "top level"
        raise WorkflowError(
            f"The graph is not in ComfyUI's API format: at {where}: {first['msg']}."
        ) from error
    graph = Graph(
        {
            node_id: Node(node.class_type, node.inputs, node.meta.title or node.class_type)
            for node_id, node in nodes.items()
        }
    )
    check_links(graph)
    return graph


def check_links(graph: Graph) -> None:
    """Check that every link leads to a node of the graph and that no links form a cycle.

    Raises:
        WorkflowError: One does not; the message and the details name the nodes.
    """
    if not graph.nodes:
        raise WorkflowError("The graph has no nodes.")
    for node_id, node in graph.nodes.items():
        for name, link in node.links():
            if link.node_id not in graph.nodes:
                raise WorkflowError(
                    f'Input "{name}" of node {node_id} ({node.title}) is linked to node '
                    f"{link.node_id}, which the graph does not have.",
                    node_id=node_id,
                    input=name,
                )
    sorter = graphlib.TopologicalSorter(
        {
            node_id: {link.node_id for _, link in node.links()}
            for node_id, node in graph.nodes.items()
        }
    )
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        cycle = [str(node_id) for node_id in error.args[1]]
        raise WorkflowError(
            f"The graph has a cycle: {' -> '.join(cycle)}. Remove one of these links.",
            nodes=list[JsonValue](cycle),
        ) from error


def as_link(value: JsonValue) -> Link | None:
    """Return the link that an input's value is, or ``None`` where it is a constant."""
    match value:
        case [str() as node_id, int() as output] if not isinstance(output, bool):
            return Link(node_id, output)
        case _:
            return None
