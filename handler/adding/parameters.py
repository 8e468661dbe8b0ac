"""Which of a graph's inputs a caller may change, as a person would choose them."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from comfyui_runtime.workflow.editor.widgets import MATCH_TYPE, has_control, is_widget
from comfyui_runtime.workflow.files import FILE_LOADERS, FileLoader, extension_of
from comfyui_runtime.workflow.graph import as_link
from handler.adding.source import slug

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from comfyui_runtime.workflow.editor import InputDefinition, NodeDefinition, PromotedInput
    from comfyui_runtime.workflow.files import Media
    from comfyui_runtime.workflow.graph import Graph, Node, NodeId

_MARK = re.compile(r"@(\w+)(?::([\w.]+))?\s*(.*)", re.DOTALL)
_ROLES = {
    "steps": ("steps", "How many sampling steps."),
    "cfg": ("cfg", "How closely the prompt is followed."),
    "guidance": ("guidance", "How closely the prompt is followed."),
    "sampler_name": ("sampler", "Sampling method."),
    "scheduler": ("scheduler", "How the noise falls from step to step."),
    "denoise": (
        "denoise",
        "How far the result may move away from what it starts from: 1 keeps nothing of it.",
    ),
    "width": ("width", "Width in pixels."),
    "height": ("height", "Height in pixels."),
    "megapixels": ("megapixels", "Size of the result in millions of pixels."),
    "length": ("frames", "How many frames the video has."),
    "fps": ("frame_rate", "Frames per second."),
    "frame_rate": ("frame_rate", "Frames per second."),
    "seconds": ("seconds", "Length in seconds."),
    "duration": ("seconds", "Length in seconds."),
    "lyrics": ("lyrics", "The words that are sung."),
    "batch_size": ("batch_size", "How many results one run makes."),
}
_LORA_ROLES = {
    "strength_model": ("lora_strength", "How much of the LoRA is used; 0 leaves it out."),
    "strength_clip": (
        "lora_text_strength",
        "How much the LoRA changes how the prompt is read.",
    ),
}
# Each LoRA and each control picture is strong by itself.
_APART = frozenset({"lora_strength", "lora_text_strength", "control_strength"})
_CONTROL_ROLE = ("control_strength", "How strictly the control picture is followed.")
_PROMPT = ("prompt", "What the result should show.")
_NEGATIVE = ("negative_prompt", "What the result should not show.")
_PLAIN_NAMES = frozenset(
    {"", "value", "text", "string", "prompt", "primitive", "primitivenode", "int", "float"}
)
_NAMES_OF_SIDES = {
    "prompt": frozenset({"positive", "positive_prompt"}),
    "negative_prompt": frozenset({"negative", "negative_text"}),
}
# "Int (Steps)": the type of a primitive's value before what it means.
_TYPED_TITLE = re.compile(
    r"(?:int|integer|float|number|string|text|boolean)\s*\((.+)\)", re.IGNORECASE
)
# The class's name up to "Primitive", and the input that holds what its title names.
_PLAIN_VALUES = frozenset({("", "value"), ("CustomCombo", "choice")})
_SEED_NAMES = frozenset({"seed", "noise_seed"})
_EDITOR_MINIMUM, _EDITOR_MAXIMUM = 0, 2048
# Bounds beyond this are those of a type and say nothing; these stand in for them.
_NO_BOUND = 2**53
_LOOSE_BOUND = 1_000_000
_LONGEST_TEXT = 2000
_MASK_LOADER = "LoadImageMask"
_LOADERS = frozenset({"LoadImage", "LoadImageOutput", _MASK_LOADER})
_NOUNS: dict[Media, str] = {"video": "video", "audio": "sound", "file": "model"}
_UPLOADS: dict[str, Media] = {"video_upload": "video", "audio_upload": "audio"}
FILE_LISTS = ("image_upload", "video_upload", "animated_image_upload", "audio_upload")


@dataclass(frozen=True)
class DraftImage:
    """An image that the caller gives in place of a loader node's."""

    name: str
    node_id: NodeId
    description: str


@dataclass(frozen=True)
class DraftFile:
    """A video, a sound or a 3D model that the caller gives in place of a loader node's.

    Attributes:
        input: The loader's input that names the file; ``None`` where its class is known.
        extension: Of the file that the graph names, or a likely one.
    """

    name: str
    node_id: NodeId
    media: Media
    description: str
    input: str | None
    extension: str


@dataclass(frozen=True)
class DraftParameter:
    """A parameter as the manifest will declare it.

    Attributes:
        fields: ``type``, ``default`` and bounds, as a manifest names them.
        patches: ``<node id>.<input name>`` of each input that gets the value.
    """

    name: str
    description: str
    fields: Mapping[str, Any]
    patches: tuple[str, ...]


@dataclass
class _Drafts:
    by_name: dict[str, DraftParameter] = field(default_factory=dict)
    taken: set[tuple[str, str]] = field(default_factory=set)

    def add(
        self,
        name: str,
        description: str,
        fields: Mapping[str, Any],
        refs: Iterable[tuple[str, str]],
    ) -> None:
        """Add a parameter.

        Seeds share one, and so do inputs of one name that are alike; for other names that are
        taken there is a number.
        """
        free = [ref for ref in refs if ref not in self.taken]
        if not free:
            return
        self.taken.update(free)
        patches = tuple(f"{node_id}.{name}" for node_id, name in free)
        kept = self.by_name.get(name)
        if kept is not None and kept.fields == fields and name not in _APART:
            patches = (*kept.patches, *patches)
            description = kept.description
        else:
            name = unused(name, self.by_name)
        self.by_name[name] = DraftParameter(name, description, fields, patches)


def draft_images(graph: Graph, definitions: Mapping[str, NodeDefinition]) -> list[DraftImage]:
    """Return the images that a caller gives: one for each node that loads one."""
    loaders = {key: node for key, node in graph.nodes.items() if node.class_type in _LOADERS}
    images: dict[str, DraftImage] = {}
    for node_id, node in loaders.items():
        noun = "mask" if node.class_type == _MASK_LOADER else "image"
        plain = "image" if len(loaders) == 1 else noun
        name, description = _named(node, definitions, plain, noun, alone=len(loaders) == 1)
        name = unused(name, images)
        images[name] = DraftImage(name, node_id, description)
    return list(images.values())


def draft_files(
    graph: Graph, definitions: Mapping[str, NodeDefinition], taken: set[str]
) -> list[DraftFile]:
    """Return the videos, sounds and models that a caller gives: one for each node that loads one.

    Args:
        taken: Names that images have.
    """
    loaders = {
        node_id: loader
        for node_id, node in graph.nodes.items()
        if (loader := _file_loader(node, definitions)) is not None
    }
    counts = Counter(loader.media for loader in loaders.values())
    files: dict[str, DraftFile] = {}
    for node_id, loader in loaders.items():
        node, noun = graph.nodes[node_id], _NOUNS[loader.media]
        alone = counts[loader.media] == 1
        name, description = _named(node, definitions, noun, noun, alone=alone)
        name = unused(name, {**files, **dict.fromkeys(taken)})
        likely = {"video": "mp4", "audio": "wav", "file": "glb"}[loader.media]
        extension = extension_of(node.inputs.get(loader.input))
        files[name] = DraftFile(
            name,
            node_id,
            loader.media,
            description,
            None if node.class_type in FILE_LOADERS else loader.input,
            likely if extension == "bin" else extension,
        )
    return list(files.values())


def _file_loader(node: Node, definitions: Mapping[str, NodeDefinition]) -> FileLoader | None:
    known = FILE_LOADERS.get(node.class_type)
    if known is not None:
        return known if as_link(node.inputs.get(known.input)) is None else None
    definition = definitions.get(node.class_type)
    if definition is None:
        return None
    for name, _ in _constants(node):
        declared = definition.input(name)
        for option, media in _UPLOADS.items():
            if declared is not None and declared.options.get(option):
                return FileLoader(media, name)
    return None


def _named(
    node: Node,
    definitions: Mapping[str, NodeDefinition],
    plain: str,
    noun: str,
    *,
    alone: bool,
) -> tuple[str, str]:
    """Return name and description: as the title's mark says, else of the title, else plain."""
    mark = _MARK.fullmatch(node.title)
    definition = definitions.get(node.class_type)
    has_own_title = definition is not None and node.title not in {
        definition.title,
        node.class_type,
    }
    if mark is not None:
        return slug(mark[1]), mark[3] or f"The {noun}."
    if has_own_title and not alone:
        return slug(node.title) or plain, f"The {noun} for {node.title!r}."
    return plain, f"The {noun}."


def draft_parameters(
    graph: Graph,
    definitions: Mapping[str, NodeDefinition],
    promoted: Iterable[PromotedInput],
) -> list[DraftParameter]:
    """Return the parameters: what titles mark, what subgraphs show, and what roles are known."""
    drafts = _Drafts()
    sides = _Sides(graph, definitions)
    for node_id, node in graph.nodes.items():
        _add_marked(drafts, node_id, node, definitions.get(node.class_type))
    for one in promoted:
        _add_promoted(drafts, graph, definitions, one, sides)
    for node_id, node in graph.nodes.items():
        definition = definitions.get(node.class_type)
        if definition is not None:
            _add_roles(drafts, node_id, node, definition, sides)
    return _in_order(drafts.by_name.values())


def unused(name: str, taken: Mapping[str, object]) -> str:
    """Return a name that is not taken: as it is, or with a number."""
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def plain_title(title: str) -> str:
    """Return a primitive's title without the type that stands before what it means."""
    match = _TYPED_TITLE.fullmatch(title.strip())
    return match[1] if match else title


def _as_sentence(name: str) -> str:
    words = name.replace("_", " ").strip()
    return f"{words[:1].upper()}{words[1:]}." if words else "A value of the workflow."


def _in_order(drafts: Iterable[DraftParameter]) -> list[DraftParameter]:
    first = ("prompt", "negative_prompt")
    rank = {name: number for number, name in enumerate(first)}
    return sorted(drafts, key=lambda draft: rank.get(draft.name, len(first)))


def _add_marked(
    drafts: _Drafts, node_id: NodeId, node: Node, definition: NodeDefinition | None
) -> None:
    mark = _MARK.fullmatch(node.title)
    if mark is None or node.class_type in _LOADERS or node.class_type in FILE_LOADERS:
        return
    names = [mark[2]] if mark[2] else [name for name, _ in _constants(node)]
    for name in names:
        declared = definition.input(name) if definition else None
        fields = fields_of(declared, node.inputs.get(name))
        if fields is not None:
            description = mark[3] or _sentence(declared, f'"{name}" of {node.class_type}.')
            drafts.add(slug(mark[1]), description, fields, [(node_id, name)])
            return


def _add_promoted(
    drafts: _Drafts,
    graph: Graph,
    definitions: Mapping[str, NodeDefinition],
    promoted: PromotedInput,
    sides: _Sides,
) -> None:
    refs = [ref for ref in promoted.refs if ref[0] in graph.nodes]
    if not refs:
        return
    node_id, input_name = refs[0]
    node = graph.nodes[node_id]
    definition = definitions.get(node.class_type)
    declared = definition.input(input_name) if definition else None
    declared = _as_used(declared, node_id, node, sides)
    fields = fields_of(declared, node.inputs.get(input_name))
    if fields is None:
        return
    name, description = _role(node_id, node, declared, input_name, sides) or ("", "")
    shown = slug(plain_title(promoted.name))
    if shown in _NAMES_OF_SIDES.get(name, ()):
        shown = name
    if (
        shown not in _PLAIN_NAMES
        and fields["type"] != "seed"
        and (not name or shown not in {input_name, name})
    ):
        name, description = shown, _sentence(declared, _as_sentence(promoted.name))
    if not name:
        name = shown if shown not in {"", "value"} else slug(input_name)
        description = _sentence(declared, _as_sentence(promoted.name))
    drafts.add(name or "parameter", description, fields, refs)


def _add_roles(
    drafts: _Drafts, node_id: NodeId, node: Node, definition: NodeDefinition, sides: _Sides
) -> None:
    for input_name, value in _constants(node):
        declared = _as_used(definition.input(input_name), node_id, node, sides)
        fields = fields_of(declared, value)
        if declared is None or fields is None:
            continue
        role = _role(node_id, node, declared, input_name, sides)
        if (node.class_type.partition("Primitive")[0], input_name) in _PLAIN_VALUES:
            own = slug(plain_title(node.title))
            if node.title != definition.title and own not in _PLAIN_NAMES:
                role = (own, _as_sentence(plain_title(node.title)))
        if role is not None:
            drafts.add(role[0], role[1], fields, [(node_id, input_name)])


def _role(
    node_id: NodeId,
    node: Node,
    declared: InputDefinition | None,
    input_name: str,
    sides: _Sides,
) -> tuple[str, str] | None:
    name = input_name.rpartition(".")[2]
    if name in _SEED_NAMES:
        return "seed", "The same seed and parameters give the same result; drawn where not given."
    if name in _LORA_ROLES and "lora" in node.class_type.lower():
        return _LORA_ROLES[name]
    if name == "strength" and "controlnet" in node.class_type.lower():
        return _CONTROL_ROLE
    if name in _ROLES:
        return _ROLES[name]
    if declared is not None and declared.type == "STRING" and declared.options.get("multiline"):
        is_negative = sides.is_negative(node_id) or "negative" in node.title.lower()
        return _NEGATIVE if is_negative else _PROMPT
    return None


def _as_used(
    declared: InputDefinition | None, node_id: NodeId, node: Node, sides: _Sides
) -> InputDefinition | None:
    """Return what an input may really hold, where its class leaves that open.

    A primitive's value has the bounds of what it is used for; a custom combo offers the options
    beside it, unless something takes the option's number, which would not change with it.
    """
    if declared is not None and (node.class_type, declared.name) == ("CustomCombo", "choice"):
        options = (value for name, value in node.inputs.items() if name.startswith("option"))
        is_numbered = sides.uses(node_id, 1)
        return None if is_numbered else replace(declared, choices=tuple(filter(None, options)))
    if declared is None or not node.class_type.startswith("Primitive"):
        return declared
    bounds = sides.bounds(node_id, declared.type)
    return replace(declared, options={**declared.options, **_only_bounds(bounds)})


def _only_bounds(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: options[key] for key in ("min", "max", "step") if key in options}


def _constants(node: Node) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in node.inputs.items() if as_link(value) is None)


def fields_of(
    declared: InputDefinition | None,
    value: Any,  # noqa: ANN401 - JSON
) -> dict[str, Any] | None:
    """Return type, default and bounds of a parameter for an input; ``None`` where it cannot be one.

    Args:
        declared: What the node's class says; ``None`` where the class is not installed.
        value: The value in the graph, which becomes the default.
    """
    if declared is None:
        return _undeclared_fields(value)
    kind = declared.type if is_widget(declared) else ""
    if kind in {"INT", "FLOAT"} and isinstance(value, int | float) and not isinstance(value, bool):
        return _number_fields(declared, value)
    if kind == "BOOLEAN" and isinstance(value, bool):
        return {"type": "boolean", "default": value}
    if kind == "STRING" and isinstance(value, str):
        return _text_fields(value)
    if kind == "COMBO" and isinstance(value, str):
        return _choice_fields(declared, value)
    return None


def _number_fields(declared: InputDefinition, value: float) -> dict[str, Any] | None:
    options = declared.options
    low, high = _bounds(options, value)
    if declared.type == "FLOAT":
        step = options.get("step")
        return {
            "type": "number",
            "default": float(value),
            "minimum": float(low),
            "maximum": float(high),
        } | ({"step": float(step)} if step else {})
    if not float(value).is_integer():
        return None
    if declared.name.rpartition(".")[2] in _SEED_NAMES and has_control(declared):
        return {"type": "seed"}
    return {
        "type": "integer",
        "default": int(value),
        "minimum": int(low),
        "maximum": int(high),
    }


def _choice_fields(declared: InputDefinition, value: str) -> dict[str, Any] | None:
    if any(declared.options.get(key) for key in (*FILE_LISTS, "model_folder")):
        return None
    choices = [one for one in declared.choices if isinstance(one, str)]
    if value not in choices:
        return None
    return {"type": "choice", "default": value, "choices": choices}


def _undeclared_fields(value: Any) -> dict[str, Any] | None:  # noqa: ANN401 - JSON
    if isinstance(value, bool):
        return {"type": "boolean", "default": value}
    # A number's bounds are its class's to say.
    return None


def _text_fields(value: str) -> dict[str, Any]:
    fields: dict[str, Any] = {"type": "string", "default": value}
    if 2 * len(value) > _LONGEST_TEXT:
        fields["max_length"] = -(-2 * len(value) // 1000) * 1000
    return fields


def _bounds(options: Mapping[str, Any], value: float) -> tuple[float, float]:
    low = options.get("min", _EDITOR_MINIMUM)
    high = options.get("max", _EDITOR_MAXIMUM)
    low = low if isinstance(low, int | float) else _EDITOR_MINIMUM
    high = high if isinstance(high, int | float) else _EDITOR_MAXIMUM
    if abs(low) >= _NO_BOUND:
        low = _EDITOR_MINIMUM
    if abs(high) >= _NO_BOUND:
        high = _LOOSE_BOUND
    return min(low, value), max(high, value)


def _sentence(declared: InputDefinition | None, otherwise: str) -> str:
    tooltip = declared.options.get("tooltip") if declared is not None else None
    if not isinstance(tooltip, str) or not tooltip.strip():
        return otherwise
    first = re.split(r"(?<=[.!?])\s|\n", tooltip.strip())[0]
    return first if first.endswith((".", "!", "?")) else first + "."


class _Sides:
    """What a node's result is used for, as far as the nodes behind it tell."""

    def __init__(self, graph: Graph, definitions: Mapping[str, NodeDefinition]) -> None:
        self._graph = graph
        self._definitions = definitions
        self._consumers: dict[str, list[tuple[str, str]]] = {}
        for node_id, node in graph.nodes.items():
            for name, link in node.links():
                self._consumers.setdefault(link.node_id, []).append((node_id, name))

    def uses(self, node_id: NodeId, output: int) -> bool:
        """Say whether some node takes one output of a node."""
        return any(
            link.node_id == node_id and link.output == output
            for consumer, name in self._consumers.get(node_id, ())
            if (link := as_link(self._graph.nodes[consumer].inputs[name])) is not None
        )

    def bounds(self, node_id: NodeId, kind: str) -> Mapping[str, Any]:
        """Return the declared bounds of the first number that a primitive's value ends up as."""
        seen: set[str] = set()
        waiting = [node_id]
        while waiting:
            for consumer, name in self._consumers.get(waiting.pop(0), ()):
                definition = self._definitions.get(self._graph.nodes[consumer].class_type)
                declared = definition.input(name) if definition is not None else None
                if declared is not None and declared.type == kind and "max" in declared.options:
                    return declared.options
                # Only what hands a value on unchanged, such as a switch, is looked through.
                if declared is not None and declared.type == MATCH_TYPE and consumer not in seen:
                    seen.add(consumer)
                    waiting.append(consumer)
        return {}

    def is_negative(self, node_id: NodeId) -> bool:
        """Say whether a node feeds a negative conditioning and nothing positive."""
        sides: set[bool] = set()
        seen: set[str] = set()
        waiting = [node_id]
        while waiting:
            current = waiting.pop()
            for consumer, name in self._consumers.get(current, ()):
                if name.startswith(("negative", "positive")):
                    sides.add(name.startswith("negative"))
                elif consumer not in seen:
                    seen.add(consumer)
                    waiting.append(consumer)
        return sides == {True}
