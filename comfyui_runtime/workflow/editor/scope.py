"""A graph with live nodes: the root, or one definition of a subgraph shared by all its uses."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from comfyui_runtime.errors import WorkflowError
from comfyui_runtime.workflow.editor.document import (
    SUBGRAPH_INPUT,
    EditorDocument,
    FrameSlot,
    SavedGraph,
    SavedLink,
    SavedNode,
)
from comfyui_runtime.workflow.editor.widgets import LiveNode, Slot, Widget, live_node

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from comfyui_runtime.workflow.editor.definitions import NodeDefinition


@dataclass
class Host(LiveNode):
    """A node that stands for a subgraph; its slots are those of the subgraph's frame."""

    scope: Scope = field(default_factory=lambda: Scope())  # noqa: PLW0108 - defined below
    saved: SavedNode | None = None

    def promoted_slots(self) -> Iterator[Slot]:
        """Yield the slots that show a widget of the subgraph's."""
        return (slot for slot in self.slots if slot.promoted is not None)


@dataclass
class Scope:
    """Nodes and links of one graph.

    Attributes:
        inputs: The frame's inputs; a host's slots stand in the same order.
        hosts: Every node that stands for this graph.
    """

    id: str = ""
    name: str = ""
    nodes: dict[str, LiveNode] = field(default_factory=dict)
    links: dict[int, SavedLink] = field(default_factory=dict)
    inputs: list[FrameSlot] = field(default_factory=list)
    outputs: list[FrameSlot] = field(default_factory=list)
    hosts: list[Host] = field(default_factory=list)

    def targets(self, frame_slot: FrameSlot) -> Iterator[tuple[LiveNode, Slot]]:
        """Yield the nodes and slots that one of the frame's inputs leads to."""
        for link_id in frame_slot.links:
            link = self.links.get(link_id)
            node = self.nodes.get(link.target) if link else None
            slot = node.slot_with_link(link_id) if node else None
            if node is not None and slot is not None:
                yield node, slot

    def add_input(self, name: str, kind: str, targets: list[tuple[LiveNode, Slot]]) -> FrameSlot:
        """Add an input to the frame, lead it to some slots, and show it on every host."""
        links = []
        for node, slot in targets:
            link_id = max(self.links, default=0) + 1
            index = next(number for number, one in enumerate(node.slots) if one is slot)
            self.links[link_id] = SavedLink(
                link_id, SUBGRAPH_INPUT, len(self.inputs), node.id, index
            )
            slot.link = link_id
            links.append(link_id)
        taken = {one.name for one in self.inputs}
        unique, number = name, 1
        while unique in taken:
            unique = f"{name}_{number}"
            number += 1
        frame_slot = FrameSlot(unique, kind, tuple(links))
        self.inputs.append(frame_slot)
        for host in self.hosts:
            host.slots.append(_host_slot(self, frame_slot))
        return frame_slot


def build_scopes(
    document: EditorDocument, definitions: Mapping[str, NodeDefinition]
) -> tuple[Scope, dict[str, Scope]]:
    """Make the root graph and the definitions of subgraphs, the innermost first.

    Raises:
        WorkflowError: A subgraph contains itself.
    """
    from comfyui_runtime.workflow.editor.promotion import show_promoted

    by_id = {graph.id: graph for graph in document.subgraphs}
    scopes: dict[str, Scope] = {}
    under_way: list[str] = []

    def build(graph: SavedGraph) -> Scope:
        if graph.id in under_way:
            raise WorkflowError(
                f'The subgraph "{graph.name}" contains itself. Remove it from itself in ComfyUI.'
            )
        under_way.append(graph.id)
        scope = Scope(
            graph.id, graph.name, {}, dict(graph.links), list(graph.inputs), list(graph.outputs)
        )
        for saved in graph.nodes:
            if saved.type in by_id:
                inner = scopes.get(saved.type) or build(by_id[saved.type])
                scope.nodes[saved.id] = _host(saved, inner)
            else:
                scope.nodes[saved.id] = live_node(saved, definitions.get(saved.type))
        under_way.pop()
        scopes[graph.id] = scope
        for node in scope.nodes.values():
            if isinstance(node, Host):
                show_promoted(node)
        return scope

    root = build(document.root)
    return root, scopes


def _host(saved: SavedNode, scope: Scope) -> Host:
    host = Host(
        id=saved.id,
        type=saved.type,
        title=saved.title or scope.name,
        mode=saved.mode,
        output_types=[slot.type for slot in scope.outputs],
        slots=[_host_slot(scope, slot) for slot in scope.inputs],
        properties=dict(saved.properties),
        scope=scope,
        saved=saved,
    )
    by_name = {slot.name: slot for slot in saved.inputs}
    for slot in host.slots:
        saved_slot = by_name.get(slot.name)
        if saved_slot is not None:
            slot.link = saved_slot.link
            slot.label = saved_slot.label or slot.label
    scope.hosts.append(host)
    _apply_in_order(host, saved)
    return host


def _apply_in_order(host: Host, saved: SavedNode) -> None:
    quarantined = _quarantined(host)
    values = saved.values if isinstance(saved.values, list) else []
    for number, slot in enumerate(host.promoted_slots()):
        assert slot.promoted is not None  # noqa: S101 - what promoted_slots() selects
        if slot.name in quarantined:
            slot.promoted.value = quarantined[slot.name]
        elif number < len(values):
            slot.promoted.value = values[number]


def _quarantined(host: Host) -> dict[str, object]:
    entries = host.properties.get("proxyWidgetErrorQuarantine")
    found: dict[str, object] = {}
    for entry in reversed(entries if isinstance(entries, list) else []):
        original = entry.get("originalEntry") if isinstance(entry, dict) else None
        if original and str(original[0]) == "-1" and entry.get("hostValue") is not None:
            found[str(original[1])] = entry["hostValue"]
    return found


def _host_slot(scope: Scope, frame_slot: FrameSlot) -> Slot:
    widget = shown_widget(scope, frame_slot)
    return Slot(
        frame_slot.name,
        frame_slot.type,
        widget=frame_slot.name if widget else None,
        label=frame_slot.label,
        promoted=replace(widget, name=frame_slot.name) if widget else None,
    )


def shown_widget(scope: Scope, frame_slot: FrameSlot) -> Widget | None:
    """Return the inner widget that one of the frame's inputs shows."""
    for node, slot in scope.targets(frame_slot):
        widget = slot.promoted if isinstance(node, Host) else node.widget_of(slot)
        if widget is not None:
            return widget
    return None
