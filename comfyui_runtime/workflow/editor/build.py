"""Makes live graphs of a document: the root and the definitions of its subgraphs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfyui_runtime.errors import WorkflowError
from comfyui_runtime.workflow.editor.promotion import show_promoted
from comfyui_runtime.workflow.editor.scope import Host, Scope, host_slot
from comfyui_runtime.workflow.editor.widgets import live_node

if TYPE_CHECKING:
    from collections.abc import Mapping

    from comfyui_runtime.workflow.editor.definitions import NodeDefinition
    from comfyui_runtime.workflow.editor.document import EditorDocument, SavedGraph, SavedNode


def build_scopes(
    document: EditorDocument, definitions: Mapping[str, NodeDefinition]
) -> tuple[Scope, dict[str, Scope]]:
    """Make the root graph and the definitions of subgraphs, the innermost first.

    Raises:
        WorkflowError: A subgraph contains itself.
    """
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
        slots=[host_slot(scope, slot) for slot in scope.inputs],
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
