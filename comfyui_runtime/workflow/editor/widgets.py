"""A node as the editor shows it: which widgets and slots its class gives it, and their values.

The editor saves widgets' values as a bare list. Which value is whose follows from the class's
declaration and from what the editor adds of its own: a control beside each seed, a button beside
each upload, the inputs of whichever choice of a dynamic combo is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from comfyui_runtime.workflow.editor.definitions import InputDefinition, parse_group

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from comfyui_runtime.workflow.editor.definitions import NodeDefinition
    from comfyui_runtime.workflow.editor.document import SavedNode

MUTED, BYPASSED = 2, 4
CONTROL_VALUES = frozenset({"fixed", "increment", "decrement", "randomize", "increment-wrap"})
AUTOGROW, MATCH_TYPE, DYNAMIC_COMBO = (
    "COMFY_AUTOGROW_V3",
    "COMFY_MATCHTYPE_V3",
    "COMFY_DYNAMICCOMBO_V3",
)
_DEFAULTS: dict[str, Any] = {
    "INT": 0,
    "FLOAT": 0,
    "BOOLEAN": False,
    "STRING": "",
    "MARKDOWN": "",
    "TEXTAREA": "",
    "COLOR": "#000000",
    "PAINTER": "",
    "BOUNDING_BOX": {"x": 0, "y": 0, "width": 512, "height": 512},
    "CURVE": {"points": [[0, 0], [1, 1]], "interpolation": "monotone_cubic"},
    "RANGE": {"min": 0.0, "max": 1.0},
    "BOUNDING_BOXES": [],
    "COLORS": [],
    "IMAGECOMPARE": ["", ""],
    "LOAD_3D": "",
    "LOAD_3D_ADVANCED": "",
    "PREVIEW_3D": "",
    "AUDIO_RECORD": "",
    "WEBCAM": "",
    "CHART": None,
    "GALLERIA": None,
    "COMBO": None,
    "IMAGEUPLOAD": "image",
    "AUDIOUPLOAD": "",
    "AUDIO_UI": "",
    DYNAMIC_COMBO: None,
}
_BUTTONS = frozenset({"IMAGEUPLOAD", "AUDIOUPLOAD"})
_AUDIO_PLAYERS = frozenset(
    {
        "LoadAudio",
        "SaveAudio",
        "PreviewAudio",
        "SaveAudioMP3",
        "SaveAudioOpus",
        "SaveAudioAdvanced",
    }
)
_SCENES = {"SaveGLB": "image", "Preview3D": "image", "Load3DAdvanced": "viewport_state"}
_SCENE_TYPES = {"Load3DAdvanced": "LOAD_3D_ADVANCED"}
_UPLOADS = ("image_upload", "video_upload", "animated_image_upload")
_AUTOGROW_MAXIMUM = 100


@dataclass
class Widget:
    """One widget.

    Attributes:
        in_prompt: Whether its value goes into the graph.
        saved: Whether it has a place in a saved node's list of values.
        definition: What it was made from; ``None`` for what the editor adds.
    """

    name: str
    value: Any = None
    type: str = "STRING"
    in_prompt: bool = True
    saved: bool = True
    definition: InputDefinition | None = None


@dataclass
class Slot:
    """An input; ``promoted`` is the value that a subgraph's node shows for it."""

    name: str
    type: str
    widget: str | None = None
    link: int | None = None
    label: str | None = None
    promoted: Widget | None = None


@dataclass
class LiveNode:
    """A node with its widgets' values in place.

    Attributes:
        growing: Inputs that grow as they are connected, by name.
        known: Whether its class is installed.
    """

    id: str
    type: str
    title: str
    mode: int
    output_types: list[str]
    slots: list[Slot] = field(default_factory=list)
    widgets: list[Widget] = field(default_factory=list)
    properties: dict[str, Any] = field(default_factory=dict)
    growing: dict[str, InputDefinition] = field(default_factory=dict)
    known: bool = True

    def widget(self, name: str | None) -> Widget | None:
        """Return a widget by its name."""
        return next((one for one in self.widgets if one.name == name), None)

    def widget_of(self, slot: Slot) -> Widget | None:
        """Return the widget whose place a slot takes."""
        return None if slot.widget is None else self.widget(slot.widget)

    def slot_with_link(self, link: int) -> Slot | None:
        """Return the slot that a link leads to."""
        return next((slot for slot in self.slots if slot.link == link), None)

    def slot_of(self, widget: Widget) -> Slot | None:
        """Return the slot that takes a widget's place."""
        return next((slot for slot in self.slots if slot.widget == widget.name), None)


def live_node(saved: SavedNode, definition: NodeDefinition | None) -> LiveNode:
    """Make a node from what its class declares, and give it the saved values and links."""
    if definition is None:
        return _undeclared(saved)
    node = LiveNode(
        id=saved.id,
        type=saved.type,
        title=saved.title or definition.title,
        mode=saved.mode,
        output_types=_output_types(saved, definition),
        properties=dict(saved.properties),
    )
    declared = [*definition.inputs, *_added_by_editor(definition)]
    for one in declared:
        _add_socket(node, one)
    for one in declared:
        _add_widget(node, one)
    if saved.type == "CustomCombo":
        node.widgets += [Widget("index", type="INT"), Widget("option1", "")]
    _assign(node, saved, declared)
    _connect(node, saved)
    if saved.type == "CustomCombo":
        _number_choice(node)
    return node


def default_of(definition: InputDefinition) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value that the editor gives a new widget; ``None`` where there is none."""
    options = definition.options
    if definition.type == DYNAMIC_COMBO:
        keys = _keys(definition)
        return options.get("default") or (keys[0] if keys else None)
    if definition.type == "COMBO":
        if options.get("multi_select") or options.get("multiselect"):
            return options.get("default") or []
        return options.get("default") or (definition.choices[0] if definition.choices else None)
    default = options.get("default")
    return _DEFAULTS.get(definition.type) if default is None else default


def is_widget(definition: InputDefinition) -> bool:
    """Say whether the editor shows an input as a widget rather than as a socket alone."""
    kind = definition.options.get("widgetType") or definition.type
    return kind in _DEFAULTS and not definition.options.get("forceInput")


def has_control(definition: InputDefinition) -> bool:
    """Say whether the editor puts a "control after generate" beside a widget."""
    control = definition.options.get("control_after_generate")
    if definition.type == "INT" and control is None:
        return definition.name.rpartition(".")[2] in {"seed", "noise_seed"} and (
            "." not in definition.name
        )
    return definition.type in {"INT", "FLOAT", "COMBO"} and bool(control)


def set_value(node: LiveNode, widget: Widget, value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Give a widget its value; a dynamic combo's choice brings its own widgets and slots."""
    widget.value = value
    if widget.type == DYNAMIC_COMBO and widget.definition is not None:
        _choose(node, widget, widget.definition)
    if node.type == "CustomCombo" and widget is node.widgets[-1] and value:
        node.widgets.append(Widget(f"option{len(node.widgets) - 1}", ""))


def _added_by_editor(definition: NodeDefinition) -> Iterable[InputDefinition]:
    required = [one for one in definition.inputs if not one.optional]
    if definition.class_type in _AUDIO_PLAYERS:
        yield InputDefinition("audioUI", "AUDIO_UI")
    if any(one.options.get(key) for one in required for key in _UPLOADS):
        yield InputDefinition("upload", "IMAGEUPLOAD")
    if any(one.name == "audio" and one.options.get("audio_upload") is True for one in required):
        yield InputDefinition("upload", "AUDIOUPLOAD")
    if definition.class_type in _SCENES:
        kind = _SCENE_TYPES.get(definition.class_type, "PREVIEW_3D")
        yield InputDefinition(_SCENES[definition.class_type], kind)


def _output_types(saved: SavedNode, definition: NodeDefinition) -> list[str]:
    types = list(saved.output_types)
    for index, declared in enumerate(definition.outputs):
        if index >= len(types):
            types.append("*" if declared == MATCH_TYPE else declared)
        elif declared != MATCH_TYPE:
            types[index] = declared
    return types


def _add_input(node: LiveNode, definition: InputDefinition) -> None:
    _add_socket(node, definition)
    _add_widget(node, definition)


def _add_socket(node: LiveNode, definition: InputDefinition) -> None:
    if is_widget(definition):
        return
    if definition.type == AUTOGROW:
        node.growing[definition.name] = definition
        for ordinal in range(int(_template(definition).get("min", 1)) + 1):
            _add_autogrow_group(node, definition, ordinal)
    elif definition.type == MATCH_TYPE:
        allowed = str(_template(definition).get("allowed_types", "*"))
        _add_input(node, replace(definition, type=allowed))
    else:
        node.slots.append(Slot(definition.name, definition.type))


def _add_widget(node: LiveNode, definition: InputDefinition) -> None:
    if not is_widget(definition):
        return
    kind = str(definition.options.get("widgetType") or definition.type)
    if kind == "LOAD_3D" and node.widget("model_file"):
        node.widgets += [
            Widget("upload 3d model", "upload3dmodel"),
            Widget("upload extra resources", "uploadExtraResources"),
            Widget("clear", "clear"),
        ]
    widget = Widget(
        definition.name,
        default_of(definition),
        kind,
        in_prompt=kind not in _BUTTONS | {"AUDIO_UI"},
        saved=kind not in {"AUDIO_UI", "IMAGECOMPARE"},
        definition=definition,
    )
    node.widgets.append(widget)
    if has_control(definition):
        control = definition.options.get("control_after_generate")
        name = control if isinstance(control, str) else "control_after_generate"
        node.widgets.append(Widget(name, "randomize", "CONTROL", in_prompt=False))
        if kind == "COMBO":
            node.widgets.append(Widget("control_filter_list", "", "CONTROL", in_prompt=False))
    if kind == "BOUNDING_BOX":
        node.widgets += [
            Widget(part, type="INT", in_prompt=False) for part in ("x", "y", "width", "height")
        ]
    if kind == "AUDIO_RECORD":
        node.widgets.append(Widget("record", "", in_prompt=False))
    if not definition.options.get("socketless"):
        node.slots.append(Slot(definition.name, definition.type, widget=definition.name))
    if kind == DYNAMIC_COMBO:
        _choose(node, widget, definition)


def _choose(node: LiveNode, widget: Widget, definition: InputDefinition) -> None:
    prefix = widget.name + "."
    old_links = {slot.name: slot.link for slot in node.slots if slot.name.startswith(prefix)}
    node.slots[:] = [slot for slot in node.slots if not slot.name.startswith(prefix)]
    for name in [name for name in node.growing if name.startswith(prefix)]:
        del node.growing[name]
    node.widgets[:] = [one for one in node.widgets if not one.name.startswith(prefix)]
    chosen = next(
        (
            option
            for option in definition.options.get("options") or ()
            if isinstance(option, dict) and option.get("key") == widget.value
        ),
        None,
    )
    if chosen is None:
        return
    slots, widgets = node.slots[:], node.widgets[:]
    node.slots.clear()
    node.widgets.clear()
    for inner in parse_group(chosen.get("inputs")):
        _add_input(node, replace(inner, name=prefix + inner.name))
    added_slots, added_widgets = node.slots[:], node.widgets[:]
    for slot in added_slots:
        slot.link = old_links.get(slot.name)
    at = next(index for index, one in enumerate(widgets) if one is widget) + 1
    node.widgets[:] = [*widgets[:at], *added_widgets, *widgets[at:]]
    own = next((index for index, slot in enumerate(slots) if slot.name == widget.name), None)
    at = len(slots) if own is None else own + 1
    node.slots[:] = [*slots[:at], *added_slots, *slots[at:]]


def _add_autogrow_group(node: LiveNode, definition: InputDefinition, ordinal: int) -> None:
    template = _template(definition)
    names = template.get("names")
    maximum = len(names) if names else int(template.get("max", _AUTOGROW_MAXIMUM))
    if ordinal >= maximum:
        return
    members = list(parse_group(template.get("input")))
    for member in members:
        stem = str(template.get("prefix") or "") if len(members) == 1 else member.name
        base = names[ordinal] if names else f"{stem}{ordinal}"
        _add_input(node, replace(member, name=f"{definition.name}.{base}"))


def _template(definition: InputDefinition) -> dict[str, Any]:
    template = definition.options.get("template")
    return template if isinstance(template, dict) else {}


def _keys(definition: InputDefinition) -> list[Any]:
    options = definition.options.get("options") or ()
    return [option.get("key") for option in options if isinstance(option, dict)]


def _assign(node: LiveNode, saved: SavedNode, declared: Sequence[InputDefinition]) -> None:
    if isinstance(saved.values, dict):
        for name, value in saved.values.items():
            named = node.widget(name)
            if named is not None:
                set_value(node, named, value)
    elif saved.values is not None:
        values = _without_forced(node, saved.values, declared)
        taken = position = 0
        # The list of widgets grows while it is gone through: see set_value.
        while position < len(node.widgets) and taken < len(values):
            widget = node.widgets[position]
            position += 1
            if widget.saved:
                set_value(node, widget, values[taken])
                taken += 1
    for widget in node.widgets:
        definition = widget.definition
        if widget.value is None and definition is not None and definition.choices:
            widget.value = definition.choices[0]


def _without_forced(
    node: LiveNode, values: list[Any], declared: Sequence[InputDefinition]
) -> list[Any]:
    """Drop the values that an older editor saved for inputs that are now sockets alone."""
    names = {widget.name for widget in node.widgets}
    forced: list[bool] = []
    for definition in declared:
        is_forced = bool(definition.options.get("forceInput"))
        if definition.name in names or is_forced:
            forced.append(is_forced)
            if definition.options.get("control_after_generate"):
                forced.append(False)
    if len(forced) != len(values):
        return values
    return [value for value, drop in zip(values, forced, strict=True) if not drop]


def _connect(node: LiveNode, saved: SavedNode) -> None:
    by_name = {slot.name: slot for slot in node.slots}
    for saved_slot in saved.inputs:
        slot = by_name.get(saved_slot.name)
        if slot is None:
            if not _may_be_added(node, saved_slot.name):
                continue
            slot = Slot(saved_slot.name, saved_slot.type, saved_slot.widget)
            node.slots.append(slot)
        slot.link = saved_slot.link
        slot.label = saved_slot.label


def _may_be_added(node: LiveNode, name: str) -> bool:
    """Say whether a saved input that the class does not declare as such is one of the node's.

    Below a dynamic combo only what the choice declares is; elsewhere scripts of packs add some.
    """
    group, _, member = name.rpartition(".")
    growing = node.growing.get(group)
    if growing is not None:
        template = _template(growing)
        names = template.get("names")
        if names:
            return member in names
        stems = [one.name for one in parse_group(template.get("input"))]
        stems = [str(template.get("prefix") or "")] if len(stems) == 1 else stems
        number = next((member[len(one) :] for one in stems if member.startswith(one)), "")
        return number.isdecimal() and int(number) < int(template.get("max", _AUTOGROW_MAXIMUM))
    combos = [one.name for one in node.widgets if one.type == DYNAMIC_COMBO]
    return not any(name.startswith(combo + ".") for combo in combos)


def _number_choice(node: LiveNode) -> None:
    choices = [one.value for one in node.widgets if one.name.startswith("option")]
    chosen = node.widgets[0].value
    index = node.widget("index")
    if index is not None:
        index.value = choices.index(chosen) if chosen in choices else -1


def _undeclared(saved: SavedNode) -> LiveNode:
    """Make a node of a class that is not installed, from what the file itself says of it."""
    node = LiveNode(
        id=saved.id,
        type=saved.type,
        title=saved.title or saved.type,
        mode=saved.mode,
        output_types=list(saved.output_types),
        properties=dict(saved.properties),
        known=False,
    )
    for slot in saved.inputs:
        node.slots.append(Slot(slot.name, slot.type, slot.widget, slot.link, slot.label))
    if isinstance(saved.values, dict):
        node.widgets += [Widget(name, value) for name, value in saved.values.items()]
        return node
    values = list(saved.values or ())
    names = [(slot.widget, slot.type) for slot in saved.inputs if slot.widget is not None]
    for number, (name, kind) in enumerate(names):
        if not values:
            break
        node.widgets.append(Widget(name, values.pop(0), kind))
        left = len(names) - number - 1
        if len(values) > left and kind in {"INT", "COMBO"} and str(values[0]) in CONTROL_VALUES:
            node.widgets.append(Widget("control_after_generate", values.pop(0), in_prompt=False))
    # Nodes without a class, such as primitives, have values that no input names.
    if not names:
        node.widgets += [Widget("value", value, in_prompt=False) for value in values]
    return node
