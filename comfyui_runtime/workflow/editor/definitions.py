"""What node classes declare, read from data in the shape of ComfyUI's ``/object_info``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True)
class InputDefinition:
    """One declared input.

    Attributes:
        type: ComfyUI's type name; ``COMBO`` for one of a list.
        choices: What a combo offers; empty for other types and for lists of files that are empty.
        options: Everything else that the class declares about it (default, min, max, tooltip …).
    """

    name: str
    type: str
    optional: bool = False
    choices: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NodeDefinition:
    """One node class.

    Attributes:
        inputs: In the order in which the editor shows them.
        outputs: Type names by output index.
        is_output: Whether ComfyUI starts from such a node.
        is_paid: Whether it calls a paid service.
        module: Python module that defines it, such as ``comfy_extras.nodes_wan``.
    """

    class_type: str
    title: str
    inputs: tuple[InputDefinition, ...] = ()
    outputs: tuple[str, ...] = ()
    is_output: bool = False
    is_paid: bool = False
    module: str = ""

    def input(self, name: str) -> InputDefinition | None:
        """Return a declared input; ``a.b`` finds ``b`` in whichever choice of ``a`` has it."""
        for definition in self.inputs:
            if definition.name == name:
                return definition
            if name.startswith(definition.name + "."):
                return _nested(definition, name)
        return None


NodeDefinitions = dict[str, NodeDefinition]


def parse_definitions(object_info: Mapping[str, Any]) -> dict[str, NodeDefinition]:
    """Read node definitions by class name; entries that are not definitions are left out."""
    return {
        name: _parse_node(name, info)
        for name, info in object_info.items()
        if isinstance(info, dict) and isinstance(info.get("input", {}), dict)
    }


def parse_input(name: str, spec: Any, *, optional: bool) -> InputDefinition:  # noqa: ANN401 - JSON
    """Read one input's declaration, ``[type or choices, options]``."""
    parts = spec if isinstance(spec, list | tuple) and spec else ["UNKNOWN"]
    kind = parts[0]
    options = parts[1] if len(parts) > 1 and isinstance(parts[1], dict) else {}
    if isinstance(kind, list | tuple):
        return InputDefinition(name, "COMBO", optional, tuple(kind), options)
    if kind == "COMBO":
        choices = options.get("options") or ()
        return InputDefinition(name, "COMBO", optional, tuple(choices), options)
    return InputDefinition(name, str(kind), optional, (), options)


def parse_group(inputs: Any) -> Iterator[InputDefinition]:  # noqa: ANN401 - JSON
    """Yield the inputs of ``{"required": {…}, "optional": {…}}``, the required ones first."""
    for group in ("required", "optional"):
        for name, spec in ((inputs or {}).get(group) or {}).items():
            yield parse_input(name, spec, optional=group == "optional")


def _parse_node(name: str, info: Mapping[str, Any]) -> NodeDefinition:
    outputs = info.get("output") or ()
    return NodeDefinition(
        class_type=name,
        title=str(info.get("display_name") or name),
        inputs=tuple(_ordered(info)),
        outputs=tuple(kind if isinstance(kind, str) else "COMBO" for kind in outputs),
        is_output=info.get("output_node") is True,
        is_paid=info.get("api_node") is True,
        module=str(info.get("python_module") or ""),
    )


def _ordered(info: Mapping[str, Any]) -> Iterator[InputDefinition]:
    declared = {definition.name: definition for definition in parse_group(info.get("input"))}
    order = info.get("input_order") or {}
    for group in ("required", "optional"):
        for name in order.get(group) or ():
            definition = declared.get(name)
            if definition is not None and definition.optional == (group == "optional"):
                yield declared.pop(name)
    yield from declared.values()


def _nested(definition: InputDefinition, name: str) -> InputDefinition | None:
    rest = name[len(definition.name) + 1 :]
    for inner in _members(definition):
        if inner.name == rest:
            return inner
        if rest.startswith(inner.name + "."):
            return _nested(inner, rest)
    return None


def _members(definition: InputDefinition) -> Iterator[InputDefinition]:
    for option in definition.options.get("options") or ():
        if isinstance(option, dict):
            yield from parse_group(option.get("inputs"))
