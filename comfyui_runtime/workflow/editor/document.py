"""The editor's own format, read into records: nodes, links, and the definitions of subgraphs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from comfyui_runtime.errors import WorkflowError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SUBGRAPH_INPUT = "-10"
SUBGRAPH_OUTPUT = "-20"
_LINK_PARTS = 5


@dataclass(frozen=True)
class SavedSlot:
    """An input of a saved node.

    Attributes:
        widget: Name of the widget whose place the input takes, if it has one.
        link: Id of the link that leads here.
    """

    name: str
    type: str
    widget: str | None
    link: int | None
    label: str | None = None


@dataclass(frozen=True)
class SavedLink:
    """A link; in a subgraph, origin -10 is the frame's inputs and target -20 its outputs."""

    id: int
    origin: str
    origin_slot: int
    target: str
    target_slot: int


@dataclass(frozen=True)
class SavedNode:
    """A node as the editor saves it.

    Attributes:
        mode: 0 runs, 2 is muted, 4 is bypassed.
        values: Values of its widgets in their order, or by name as a few packs save them.
        output_types: Type names by output index.
    """

    id: str
    type: str
    title: str | None
    mode: int
    inputs: tuple[SavedSlot, ...]
    output_types: tuple[str, ...]
    values: list[Any] | dict[str, Any] | None
    properties: Mapping[str, Any]


@dataclass(frozen=True)
class FrameSlot:
    """An input or output of a subgraph's frame, with the links inside that end there."""

    name: str
    type: str
    links: tuple[int, ...]
    label: str | None = None


@dataclass(frozen=True)
class SavedGraph:
    """The root graph, or the definition of a subgraph.

    Attributes:
        id: Id of the definition, which is the ``type`` of the nodes that use it; "" for the root.
    """

    id: str
    name: str
    nodes: tuple[SavedNode, ...]
    links: Mapping[int, SavedLink]
    inputs: tuple[FrameSlot, ...] = ()
    outputs: tuple[FrameSlot, ...] = ()


@dataclass(frozen=True)
class EditorDocument:
    """All that a file of the editor's holds of the graph."""

    root: SavedGraph
    subgraphs: tuple[SavedGraph, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    models: tuple[Mapping[str, Any], ...] = ()

    def nodes(self) -> Iterator[SavedNode]:
        """Yield every node, those of subgraphs included."""
        for graph in (self.root, *self.subgraphs):
            yield from graph.nodes


def is_editor_format(data: object) -> bool:
    """Say whether JSON data is in the editor's format, of whichever version."""
    return isinstance(data, dict) and "nodes" in data and "links" in data


def parse_document(data: object) -> EditorDocument:
    """Read the editor's format, version 0.4 (links are lists) or 1 (links are objects).

    Raises:
        WorkflowError: The data is not in that format.
    """
    if not isinstance(data, dict) or not isinstance(data.get("nodes"), list):
        raise WorkflowError("The file is not a workflow of ComfyUI's editor: it has no nodes.")
    try:
        definitions = list(_definitions(data))
        counter = _IdCounter(data)
        subgraphs = _with_own_ids(definitions, counter)
        root = _graph(_with_renamed_proxies(data, counter.renamed), "", "")
        inner = tuple(_graph(one, str(one["id"]), str(one.get("name") or "")) for one in subgraphs)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise WorkflowError(
            f"The workflow is damaged: {type(error).__name__}: {error}. Open it in ComfyUI and "
            "save it again."
        ) from error
    extra = data.get("extra")
    models = data.get("models")
    return EditorDocument(
        root,
        inner,
        extra if isinstance(extra, dict) else {},
        tuple(one for one in models if isinstance(one, dict)) if isinstance(models, list) else (),
    )


class _IdCounter:
    """Hands out node ids; the editor gives nodes of subgraphs new ones where they clash."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        state = data.get("state") or {}
        self.last = int(data.get("last_node_id") or state.get("lastNodeId") or 0)
        self.used = {str(node["id"]) for node in data["nodes"]}
        self.renamed: dict[str, dict[str, str]] = {}

    def new(self) -> str:
        self.last += 1
        while str(self.last) in self.used:
            self.last += 1
        return str(self.last)

    def seen(self, node_id: str) -> None:
        self.used.add(node_id)
        if node_id.isdecimal():
            self.last = max(self.last, int(node_id))


def _definitions(data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for one in (data.get("definitions") or {}).get("subgraphs") or ():
        yield one
        yield from _definitions(one)


def _with_own_ids(
    definitions: list[dict[str, Any]], counter: _IdCounter
) -> list[Mapping[str, Any]]:
    changed: list[dict[str, Any]] = []
    for definition in definitions:
        renamed: dict[str, str] = {}
        nodes = []
        for node in definition.get("nodes") or ():
            node_id = str(node["id"])
            if node_id in counter.used:
                renamed[node_id] = counter.new()
                node_id = renamed[node_id]
                counter.used.add(node_id)
            else:
                counter.seen(node_id)
            nodes.append({**node, "id": node_id})
        counter.renamed[str(definition["id"])] = renamed
        links = [_renamed_link(link, renamed) for link in definition.get("links") or ()]
        changed.append({**definition, "nodes": nodes, "links": links})
    return [_with_renamed_proxies(one, counter.renamed) for one in changed]


def _renamed_link(link: Any, renamed: Mapping[str, str]) -> SavedLink:  # noqa: ANN401 - JSON
    read = _link(link)
    return SavedLink(
        read.id,
        renamed.get(read.origin, read.origin),
        read.origin_slot,
        renamed.get(read.target, read.target),
        read.target_slot,
    )


def _with_renamed_proxies(
    graph: Mapping[str, Any], renamed: Mapping[str, Mapping[str, str]]
) -> Mapping[str, Any]:
    nodes = []
    for node in graph.get("nodes") or ():
        ids = renamed.get(str(node.get("type")))
        properties = node.get("properties")
        proxies = proxy_widgets(properties) if isinstance(properties, dict) else []
        if not ids or not proxies:
            nodes.append(node)
            continue
        changed = [[ids.get(entry[0], entry[0]), *entry[1:]] for entry in proxies]
        nodes.append({**node, "properties": {**properties, "proxyWidgets": changed}})
    return {**graph, "nodes": nodes}


def proxy_widgets(properties: Mapping[str, Any]) -> list[list[str]]:
    """Return which inner widgets a subgraph's node shows, ``[node id, widget name, …]`` each."""
    entries = properties.get("proxyWidgets")
    if isinstance(entries, str):
        try:
            entries = json.loads(entries)
        except ValueError:
            return []
    if not isinstance(entries, list):
        return []
    return [[str(part) for part in entry] for entry in entries if isinstance(entry, list)]


def _graph(data: Mapping[str, Any], graph_id: str, name: str) -> SavedGraph:
    links = [_link(link) for link in data.get("links") or () if link is not None]
    return SavedGraph(
        id=graph_id,
        name=name,
        nodes=tuple(_node(node) for node in data.get("nodes") or ()),
        links={link.id: link for link in links},
        inputs=tuple(_frame_slot(slot) for slot in data.get("inputs") or ()),
        outputs=tuple(_frame_slot(slot) for slot in data.get("outputs") or ()),
    )


def _link(link: Any) -> SavedLink:  # noqa: ANN401 - JSON
    if isinstance(link, SavedLink):
        return link
    if isinstance(link, dict):
        return SavedLink(
            int(link["id"]),
            str(link["origin_id"]),
            int(link["origin_slot"]),
            str(link["target_id"]),
            int(link["target_slot"]),
        )
    if len(link) < _LINK_PARTS:
        raise ValueError(f"link {link!r} has too few parts")
    return SavedLink(int(link[0]), str(link[1]), int(link[2]), str(link[3]), int(link[4]))


def _node(node: Mapping[str, Any]) -> SavedNode:
    values, properties = node.get("widgets_values"), node.get("properties")
    return SavedNode(
        id=str(node["id"]),
        type=str(node["type"]),
        title=_text(node.get("title")),
        mode=int(node.get("mode") or 0),
        inputs=tuple(_slot(slot) for slot in node.get("inputs") or ()),
        output_types=tuple(str(slot.get("type") or "*") for slot in node.get("outputs") or ()),
        values=values if isinstance(values, list | dict) else None,
        properties=properties if isinstance(properties, dict) else {},
    )


def _slot(slot: Mapping[str, Any]) -> SavedSlot:
    widget = slot.get("widget")
    link = slot.get("link")
    return SavedSlot(
        name=str(slot.get("name") or ""),
        type=str(slot.get("type") or "*"),
        widget=str(widget["name"]) if isinstance(widget, dict) and "name" in widget else None,
        link=None if link is None else int(link),
        label=_text(slot.get("label")),
    )


def _frame_slot(slot: Mapping[str, Any]) -> FrameSlot:
    return FrameSlot(
        name=str(slot.get("name") or ""),
        type=str(slot.get("type") or "*"),
        links=tuple(int(link) for link in slot.get("linkIds") or ()),
        label=_text(slot.get("label")),
    )


def _text(value: object) -> str | None:
    return str(value) if value else None
