"""The graph that the editor's "Export (API)" would write, made from the file that it saves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from comfyui_runtime.errors import WorkflowError
from comfyui_runtime.workflow.editor.build import build_scopes
from comfyui_runtime.workflow.editor.document import SUBGRAPH_INPUT
from comfyui_runtime.workflow.editor.promotion import PRIMITIVE
from comfyui_runtime.workflow.editor.scope import Host, Scope
from comfyui_runtime.workflow.editor.text import fill_in, first_choices, has_choices
from comfyui_runtime.workflow.editor.widgets import BYPASSED, MUTED, LiveNode, Slot, Widget

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from comfyui_runtime.workflow.editor.definitions import NodeDefinition
    from comfyui_runtime.workflow.editor.document import EditorDocument

REROUTES = frozenset({"Reroute", "Reroute (rgthree)"})
GETTERS, SETTERS = frozenset({"GetNode"}), frozenset({"SetNode"})
# Nodes of the editor's and of packs' own scripts: no class behind them, nothing of them runs.
VIRTUAL = (
    REROUTES
    | GETTERS
    | SETTERS
    | {
        PRIMITIVE,
        "Note",
        "MarkdownNote",
        "Label (rgthree)",
        "Bookmark (rgthree)",
        "Node Collector (rgthree)",
        "Fast Muter (rgthree)",
        "Fast Bypasser (rgthree)",
        "Fast Groups Muter (rgthree)",
        "Fast Groups Bypasser (rgthree)",
        "Fast Actions Button (rgthree)",
        "Mute / Bypass Relay (rgthree)",
        "Mute / Bypass Repeater (rgthree)",
        "Random Unmuter (rgthree)",
        "workflowStart",
    }
)
GROUP_NODES = ("workflow>", "workflow/")
_SAVING_PREFIX = "filename_prefix"
_SCENE = "viewport_state"


@dataclass(frozen=True)
class PromotedInput:
    """A value that a subgraph's node or a primitive on the root graph shows to its user.

    Attributes:
        host: Id of that node.
        refs: Where its value goes, ``(node id, input name)`` of the converted graph.
    """

    name: str
    host: str
    refs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Conversion:
    """What became of a file.

    Attributes:
        graph: The graph in API format, as JSON data.
        missing: Classes that are not installed, sorted. Their nodes are in the graph with the
            inputs that the file itself names.
        promoted: What subgraphs and primitives on the root graph show.
        drawn: Texts of which the editor would draw a choice each time, ``(node id, input name)``.
    """

    graph: dict[str, dict[str, Any]]
    missing: tuple[str, ...] = ()
    promoted: tuple[PromotedInput, ...] = ()
    drawn: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class _Place:
    """A node with the hosts that lead to it, from the root inwards."""

    path: tuple[Host, ...]
    node: LiveNode

    @property
    def id(self) -> str:
        return ":".join([*(host.id for host in self.path), self.node.id])


@dataclass(frozen=True)
class _Output:
    node_id: str
    slot: int


@dataclass(frozen=True)
class _Value:
    value: Any
    shown_by: tuple[str, str] | None = None


@dataclass
class _Report:
    promoted: dict[tuple[str, str], list[tuple[str, str]]] = field(default_factory=dict)
    drawn: list[tuple[str, str]] = field(default_factory=list)


def convert(document: EditorDocument, definitions: Mapping[str, NodeDefinition]) -> Conversion:
    """Convert a file of the editor's into a graph in API format.

    Args:
        definitions: What the installed node classes declare.

    Raises:
        WorkflowError: Links form a cycle, a subgraph contains itself, or a node is one of the
            group nodes that came before subgraphs.
    """
    root, scopes = build_scopes(document, definitions)
    for scope in scopes.values():
        _hand_out_primitives(scope)
    resolver = _Resolver(root)
    report = _Report()
    texts = _Texts(scopes, report)
    graph: dict[str, dict[str, Any]] = {}
    missing: set[str] = set()
    for place in _places(root):
        if _is_idle(place.node):
            continue
        if place.node.type.startswith(GROUP_NODES):
            raise WorkflowError(
                f"Node {place.id} ({place.node.title}) is a group node, which ComfyUI has replaced "
                "by subgraphs. Open the workflow in a current ComfyUI, which converts it, and save "
                "it again.",
                node_id=place.id,
            )
        if not place.node.known:
            missing.add(place.node.type)
        graph[place.id] = {
            "inputs": _inputs(place, resolver, texts, report),
            "class_type": place.node.type,
            "_meta": {"title": place.node.title},
        }
    _drop_dead_links(graph)
    promoted = tuple(
        PromotedInput(name, host, tuple(refs)) for (host, name), refs in report.promoted.items()
    )
    return Conversion(graph, tuple(sorted(missing)), promoted, tuple(report.drawn))


def _hand_out_primitives(scope: Scope) -> None:
    """Write primitives' values into the widgets that they lead to, as texts may name those."""
    for link in scope.links.values():
        origin, target = scope.nodes.get(link.origin), scope.nodes.get(link.target)
        if origin is None or target is None or origin.type != PRIMITIVE or not origin.widgets:
            continue
        slot = target.slot_with_link(link.id)
        widget = target.widget_of(slot) if slot is not None else None
        if widget is not None:
            widget.value = origin.widgets[0].value


def _places(root: Scope) -> Iterator[_Place]:
    for node in root.nodes.values():
        if not isinstance(node, Host):
            yield _Place((), node)
        elif node.mode not in {MUTED, BYPASSED}:
            yield from _inner_places((node,))


def _inner_places(path: tuple[Host, ...]) -> Iterator[_Place]:
    for node in path[-1].scope.nodes.values():
        if isinstance(node, Host):
            yield from _inner_places((*path, node))
        else:
            yield _Place(path, node)


def _is_idle(node: LiveNode) -> bool:
    return node.mode in {MUTED, BYPASSED} or (node.type in VIRTUAL)


def _inputs(place: _Place, resolver: _Resolver, texts: _Texts, report: _Report) -> dict[str, Any]:
    inputs: dict[str, Any] = {}
    for widget in place.node.widgets:
        if not widget.in_prompt:
            continue
        value = texts.written(place, widget)
        if value is not None or widget.definition is None:
            inputs[widget.name] = _boxed(value, widget.type)
    for number, slot in enumerate(place.node.slots):
        found = resolver.input(place, number, set(), None)
        if isinstance(found, _Output):
            inputs[slot.name] = [found.node_id, found.slot]
        elif isinstance(found, _Value):
            inputs[slot.name] = _boxed(found.value, slot.type)
            if found.shown_by is not None:
                report.promoted.setdefault(found.shown_by, []).append((place.id, slot.name))
    return inputs


def _boxed(value: Any, kind: str) -> Any:  # noqa: ANN401 - any JSON value
    if not isinstance(value, list):
        return value
    # A bare list is a link in API format.
    return {"__type__": "CURVE", "__value__": value} if kind == "CURVE" else {"__value__": value}


def _drop_dead_links(graph: dict[str, dict[str, Any]]) -> None:
    for node in graph.values():
        node["inputs"] = {
            name: value
            for name, value in node["inputs"].items()
            if not (isinstance(value, list) and value[0] not in graph)
        }


class _Resolver:
    """Follows links to where a value really comes from."""

    def __init__(self, root: Scope) -> None:
        self._root = root

    def input(
        self, place: _Place, number: int, visited: set[tuple[str, str, int]], kind: str | None
    ) -> _Output | _Value | None:
        self._visit(place, "input", number, visited)
        slot = place.node.slots[number] if number < len(place.node.slots) else None
        if slot is None or slot.link is None:
            return None
        scope = place.path[-1].scope if place.path else self._root
        link = scope.links.get(slot.link)
        if link is None:
            return None
        if link.origin == SUBGRAPH_INPUT:
            return self._frame_input(place, link.origin_slot, visited)
        origin = scope.nodes.get(link.origin)
        if origin is None:
            return None
        return self._output(
            _Place(place.path, origin), link.origin_slot, kind or slot.type, visited
        )

    def _frame_input(
        self, place: _Place, number: int, visited: set[tuple[str, str, int]]
    ) -> _Output | _Value | None:
        if not place.path:
            return None
        host = place.path[-1]
        slot = host.slots[number] if number < len(host.slots) else None
        if slot is None:
            return None
        outer = _Place(place.path[:-1], host)
        if slot.link is not None:
            return self.input(outer, number, visited, None)
        if slot.promoted is None:
            return None
        shown_by = (outer.id, _shown_name(slot)) if not outer.path else None
        return _Value(slot.promoted.value, shown_by)

    def _output(
        self, place: _Place, number: int, kind: str, visited: set[tuple[str, str, int]]
    ) -> _Output | _Value | None:
        self._visit(place, "output", number, visited)
        node = place.node
        if node.mode == MUTED:
            return None
        if node.mode == BYPASSED:
            stand_in = _bypass_slot(node, number, kind)
            return None if stand_in is None else self.input(place, stand_in, visited, None)
        if isinstance(node, Host):
            return self._host_output(place, node, number, kind, visited)
        if node.type in VIRTUAL:
            return self._virtual_output(place, number, kind, visited)
        return _Output(place.id, number)

    def _virtual_output(
        self, place: _Place, number: int, kind: str, visited: set[tuple[str, str, int]]
    ) -> _Output | _Value | None:
        node = place.node
        if node.type == PRIMITIVE:
            shown_by = (place.id, node.title) if not place.path else None
            return _Value(node.widgets[0].value, shown_by) if node.widgets else None
        if node.type in GETTERS:
            return self._getter(place, kind, visited)
        return self.input(place, number, visited, kind)

    def _host_output(
        self,
        place: _Place,
        host: Host,
        number: int,
        kind: str,
        visited: set[tuple[str, str, int]],
    ) -> _Output | _Value | None:
        if number >= len(host.scope.outputs):
            return None
        links = (host.scope.links.get(one) for one in host.scope.outputs[number].links)
        link = next((one for one in links if one is not None), None)
        if link is None:
            return None
        if link.origin == SUBGRAPH_INPUT:
            return self.input(place, link.origin_slot, visited, kind)
        origin = host.scope.nodes.get(link.origin)
        if origin is None:
            return None
        inner = _Place((*place.path, host), origin)
        return self._output(inner, link.origin_slot, kind, visited)

    def _getter(
        self, place: _Place, kind: str, visited: set[tuple[str, str, int]]
    ) -> _Output | _Value | None:
        name = _first_value(place.node)
        path = place.path
        while True:
            scope = path[-1].scope if path else self._root
            for node in scope.nodes.values():
                if node.type in SETTERS and _first_value(node) == name:
                    return self.input(_Place(path, node), 0, visited, kind)
            if not path:
                return None
            path = path[:-1]

    @staticmethod
    def _visit(place: _Place, side: str, number: int, visited: set[tuple[str, str, int]]) -> None:
        key = (place.id, side, number)
        if key in visited:
            raise WorkflowError(
                f"The workflow has a cycle through node {place.id} ({place.node.title}). Remove "
                "one of its links.",
                node_id=place.id,
            )
        visited.add(key)


def _first_value(node: LiveNode) -> object:
    if node.widgets:
        return node.widgets[0].value
    return node.properties.get("previousName")


def _shown_name(slot: Slot) -> str:
    return slot.label or slot.name


def _bypass_slot(node: LiveNode, number: int, kind: str) -> int | None:
    if kind in {"*", ""}:
        return number if len(node.slots) > number else 0
    output = node.output_types[number] if number < len(node.output_types) else "*"
    types = [slot.type for slot in node.slots]
    if number < len(types) and _fits(types[number], output) and _fits(types[number], kind):
        return number
    if kind in types:
        return types.index(kind)
    for index, one in enumerate(types):
        if _fits(one, output) and _fits(one, kind):
            return index
    return None


def _fits(one: str, other: str) -> bool:
    if one in {"", "*", "0"} or other in {"", "*", "0"}:
        return True
    return not set(one.lower().split(",")).isdisjoint(other.lower().split(","))


class _Texts:
    """Widgets' values as the editor writes them into a graph."""

    def __init__(self, scopes: Mapping[str, Scope], report: _Report) -> None:
        self._nodes = [node for scope in scopes.values() for node in scope.nodes.values()]
        self._report = report

    def written(self, place: _Place, widget: Widget) -> Any:  # noqa: ANN401 - any JSON value
        value = widget.value
        if widget.name == _SCENE and widget.type in {"LOAD_3D", "LOAD_3D_ADVANCED"}:
            return value if isinstance(value, dict) else {"image": "", "mask": "", "normal": ""}
        if not isinstance(value, str):
            return value
        if widget.name == _SAVING_PREFIX:
            return fill_in(value, self._value_of)
        options = widget.definition.options if widget.definition else {}
        if options.get("dynamicPrompts") is True:
            if has_choices(value):
                self._report.drawn.append((place.id, widget.name))
            return first_choices(value)
        return value

    def _value_of(self, name: str, widget_name: str) -> str | None:
        named = [one for one in self._nodes if one.properties.get("Node name for S&R") == name]
        titled = [one for one in self._nodes if one.title == name]
        for node in (named or titled)[:1]:
            widget = node.widget(widget_name)
            if widget is not None:
                return "" if widget.value is None else str(widget.value)
        return None
