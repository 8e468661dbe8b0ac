"""A graph with live nodes: the root, or one definition of a subgraph shared by all its uses."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from comfyui_runtime.workflow.editor.document import (
    SUBGRAPH_INPUT,
    FrameSlot,
    SavedLink,
    SavedNode,
)
from comfyui_runtime.workflow.editor.widgets import LiveNode, Slot, Widget

if TYPE_CHECKING:
    from collections.abc import Iterator


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
            host.slots.append(host_slot(self, frame_slot))
        return frame_slot


def host_slot(scope: Scope, frame_slot: FrameSlot) -> Slot:
    """Return the slot that a host has for one of the frame's inputs."""
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
