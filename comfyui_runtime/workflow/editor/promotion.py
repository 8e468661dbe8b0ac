"""Widgets of a subgraph that its node shows, as editors before 1.47 saved them.

They kept a list, ``proxyWidgets``, beside the frame's inputs: which inner node's widget each of
the node's values belongs to. The editor turns each entry into an input of the frame when it loads
a file, and so does this.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from comfyui_runtime.workflow.editor.document import proxy_widgets
from comfyui_runtime.workflow.editor.scope import Host

if TYPE_CHECKING:
    from comfyui_runtime.workflow.editor.document import FrameSlot
    from comfyui_runtime.workflow.editor.widgets import LiveNode, Slot, Widget

PRIMITIVE = "PrimitiveNode"
_BYPASSED_TO = "proxyBypassedToSubgraphInput"
_PREFIX = re.compile(r"\s*(\d+)\s*:\s*(.+)")
_MISSING = object()


@dataclass(frozen=True)
class _Entry:
    node_id: str
    widget: str
    inner_id: str | None
    value: Any

    @property
    def has_value(self) -> bool:
        return self.value is not _MISSING and self.value is not None


def show_promoted(host: Host) -> None:
    """Show on a host what its ``proxyWidgets`` list, with the values saved beside them."""
    saved = host.saved.values if host.saved is not None else None
    values = saved if isinstance(saved, list) else []
    entries = [
        _normalized(host, entry, values[number] if number < len(values) else _MISSING)
        for number, entry in enumerate(proxy_widgets(host.properties))
        if len(entry) >= 2  # noqa: PLR2004 - node id and widget name
    ]
    primitives: dict[str, list[_Entry]] = {}
    for entry in entries:
        _place(host, entry, primitives)
    for node_id, cohort in primitives.items():
        _replace_primitive(host, host.scope.nodes[node_id], cohort)


def _place(host: Host, entry: _Entry, primitives: dict[str, list[_Entry]]) -> None:
    linked = _linked_slot(host, entry.node_id, entry.widget)
    if linked is not None:
        _give(linked, entry)
        return
    node = host.scope.nodes.get(entry.node_id)
    if node is None:
        # The frame itself stands for a node that older editors numbered -1.
        named = next((slot for slot in host.slots if slot.name == entry.widget), None)
        if entry.node_id == "-1" and named is not None:
            _give(named, entry)
        return
    if node.type == PRIMITIVE:
        bypassed_to = node.properties.get(_BYPASSED_TO)
        named = next((slot for slot in host.slots if slot.name == bypassed_to), None)
        if named is not None:
            _give(named, entry)
        elif _primitive_targets(host, node):
            primitives.setdefault(node.id, []).append(entry)
        return
    source = _source(node, entry)
    if source is None or entry.widget.startswith("$$"):
        return
    slot, _ = source
    if slot is None:
        return
    host.scope.add_input(entry.widget, slot.type, [(node, slot)])
    _give(host.slots[-1], entry)


def _normalized(host: Host, entry: list[str], value: Any) -> _Entry:  # noqa: ANN401 - JSON
    node_id, widget = entry[0], entry[1]
    inner = entry[2] if len(entry) > 2 else None  # noqa: PLR2004 - the third names a deeper node
    if not _resolves(host, node_id, widget):
        while (match := _PREFIX.fullmatch(widget)) is not None:
            inner, widget = match[1], match[2]
    return _Entry(node_id, widget, inner, value)


def _resolves(host: Host, node_id: str, widget: str) -> bool:
    current, visited = host, set()
    while (id(current), node_id, widget) not in visited:
        visited.add((id(current), node_id, widget))
        node = current.scope.nodes.get(node_id)
        if node is None:
            return False
        if not isinstance(node, Host):
            return node.widget(widget) is not None
        target = _target(node, widget)
        if target is None:
            return False
        current, (node_id, widget) = node, target
    return False


def _target(host: Host, input_name: str) -> tuple[str, str] | None:
    """Return the inner node and the name there of what an input of a host's shows."""
    frame_slot = next((slot for slot in host.scope.inputs if slot.name == input_name), None)
    return None if frame_slot is None else _shown_by(host, frame_slot)


def _shown_by(host: Host, frame_slot: FrameSlot) -> tuple[str, str] | None:
    for node, slot in host.scope.targets(frame_slot):
        if isinstance(node, Host):
            return node.id, slot.name
        widget = node.widget_of(slot)
        if widget is not None:
            return node.id, widget.name
    return None


def _linked_slot(host: Host, node_id: str, widget: str) -> Slot | None:
    for frame_slot, slot in zip(host.scope.inputs, host.slots, strict=True):
        if _shown_by(host, frame_slot) == (node_id, widget):
            return slot
    return None


def _source(node: LiveNode, entry: _Entry) -> tuple[Slot | None, Widget] | None:
    if isinstance(node, Host):
        for slot in node.slots:
            target = _target(node, slot.name)
            if entry.inner_id is not None:
                matches = target == (entry.inner_id, entry.widget)
            else:
                matches = slot.name == entry.widget or (
                    target is not None and target[1] == entry.widget
                )
            if matches and slot.promoted is not None:
                return slot, slot.promoted
        return None
    widget = node.widget(entry.widget)
    return None if widget is None else (node.slot_of(widget), widget)


def _give(slot: Slot, entry: _Entry) -> None:
    if slot.promoted is not None and entry.has_value:
        slot.promoted.value = entry.value


def _primitive_targets(host: Host, primitive: LiveNode) -> list[tuple[LiveNode, Slot]]:
    targets = []
    for link in host.scope.links.values():
        node = host.scope.nodes.get(link.target)
        slot = node.slot_with_link(link.id) if node is not None else None
        if link.origin == primitive.id and node is not None and slot is not None:
            targets.append((node, slot))
    return targets


def _replace_primitive(host: Host, primitive: LiveNode, cohort: list[_Entry]) -> None:
    targets = _primitive_targets(host, primitive)
    if len({entry.widget for entry in cohort}) > 1 or not targets:
        return
    title = primitive.title if primitive.title not in {"", PRIMITIVE} else ""
    kind = primitive.output_types[0] if primitive.output_types else "*"
    own = primitive.widgets[0].value if primitive.widgets else None
    frame_slot = host.scope.add_input(title or cohort[0].widget, kind, targets)
    primitive.properties[_BYPASSED_TO] = frame_slot.name
    shown = host.slots[-1].promoted
    given = next((entry.value for entry in cohort if entry.has_value), own)
    if shown is not None and given is not None:
        shown.value = given
