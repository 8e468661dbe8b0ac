"""Stand-ins for the node packs' classes, so that the whole graph can be validated and run.

Real: the names, inputs, bounds and output types, which are those of ``node_definitions.json``;
ComfyUI, its validation, its executor, and every class of its own that a test leaves in the graph.

Stand-in: what the packs' classes do. It is written anew from what they are for, and covers what
this graph asks of them: values pass through, texts are joined, LoRAs and ControlNets are stacked
and then applied by ComfyUI's own loaders. The tagger always sees the same, and a preprocessor
inverts the picture. Nothing here says that the packs themselves work.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ghibli_classic.node_definitions import WILDCARD, Definition, Input

TAGS = "1girl, outdoors, tree"

Behaviour = Callable[..., Any]
Calls = list[tuple[str, dict[str, Any]]]


@dataclass(frozen=True)
class StandIns:
    """Node classes by ``class_type``, and the calls they got: name and inputs."""

    classes: dict[str, type]
    calls: Calls


class _Anything(str):
    """A type that ComfyUI takes for equal to every other."""

    __slots__ = ()

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False


def stand_in_classes(definitions: Mapping[str, Definition]) -> StandIns:
    """Return a node class for each definition."""
    calls: Calls = []
    classes = {
        name: _node_class(name, definition, _BEHAVIOURS[name], calls)
        for name, definition in definitions.items()
    }
    return StandIns(classes, calls)


def _node_class(name: str, definition: Definition, behave: Behaviour, calls: Calls) -> type:
    def input_types(cls: type) -> dict[str, dict[str, Any]]:
        return {
            group: {key: _spec(declared) for key, declared in inputs.items()}
            for group, inputs in (
                ("required", definition.required),
                ("optional", definition.optional),
            )
        }

    def run(self: object, **inputs: Any) -> Any:
        calls.append((name, inputs))
        return behave(**inputs)

    members: dict[str, Any] = {
        "INPUT_TYPES": classmethod(input_types),
        "RETURN_TYPES": tuple(_type(output) for output in definition.outputs),
        "FUNCTION": "run",
        "CATEGORY": "test",
        "OUTPUT_NODE": definition.output_node,
        "run": run,
    }
    if definition.output_is_list:
        members["OUTPUT_IS_LIST"] = definition.output_is_list
    return type(name, (), members)


def _spec(declared: Input) -> tuple[Any, dict[str, Any]]:
    options = {
        key: value
        for key, value in (
            ("default", declared.default),
            ("min", declared.minimum),
            ("max", declared.maximum),
        )
        if value is not None
    }
    if declared.type == "COMBO":
        return [*declared.choices, *_files(declared.folder)], options
    return _type(declared.type), options


def _files(folder: str | None) -> list[str]:
    import folder_paths

    return folder_paths.get_filename_list(folder) if folder else []


def _type(name: str) -> str:
    return _Anything(name) if name == WILDCARD else name


def _pass_through(value: Any) -> tuple[Any]:
    return (value,)


def _join(
    action: str, tidy_tags: str, text_a: str = "", text_b: str = "", text_c: str = ""
) -> dict[str, Any]:
    if action != "append":
        raise NotImplementedError(action)
    text = (", " if tidy_tags == "yes" else "").join(filter(None, (text_a, text_b, text_c)))
    if tidy_tags == "yes":
        text = re.sub(r"(\s*,)+", ",", re.sub(r" {2,}", " ", text))
    return {"ui": {"text": (text,)}, "result": (text,)}


def _tag(image: Any, **_: Any) -> dict[str, Any]:
    tags = [TAGS] * image.shape[0]
    return {"ui": {"tags": tags}, "result": (tags,)}


def _preprocess(image: Any, preprocessor: str, **_: Any) -> tuple[Any, str]:
    return (image if preprocessor == "None" else 1 - image), "None"


def _stack_loras(**inputs: Any) -> tuple[list[tuple[str, float, float]], str]:
    slots = [
        (inputs[f"lora_name_{n}"], inputs[f"model_weight_{n}"], inputs[f"clip_weight_{n}"])
        for n in (1, 2, 3)
        if inputs[f"switch_{n}"] == "On" and inputs[f"lora_name_{n}"] != "None"
    ]
    return slots, ""


def _apply_loras(model: Any, clip: Any, lora_stack: Any) -> tuple[Any, Any, str]:
    import nodes

    for name, model_weight, clip_weight in lora_stack:
        model, clip = nodes.LoraLoader().load_lora(model, clip, name, model_weight, clip_weight)
    return model, clip, ""


def _stack_control_nets(**inputs: Any) -> tuple[list[tuple[Any, ...]], str]:
    slots = [
        (
            inputs[f"controlnet_{n}"],
            inputs[f"image_{n}"],
            inputs[f"controlnet_strength_{n}"],
            inputs[f"start_percent_{n}"],
            inputs[f"end_percent_{n}"],
        )
        for n in (1, 2, 3)
        if inputs[f"switch_{n}"] == "On"
        and inputs[f"controlnet_{n}"] != "None"
        and inputs.get(f"image_{n}") is not None
    ]
    return slots, ""


def _apply_control_nets(
    base_positive: Any, base_negative: Any, switch: str, controlnet_stack: Any
) -> tuple[Any, Any, str]:
    import nodes

    positive, negative = base_positive, base_negative
    for name, image, strength, start, end in controlnet_stack if switch == "On" else ():
        (net,) = nodes.ControlNetLoader().load_controlnet(name)
        positive, negative = nodes.ControlNetApplyAdvanced().apply_controlnet(
            positive, negative, net, image, strength, start, end
        )
    return positive, negative, ""


def _not_to_be_called(**_: Any) -> Any:
    raise AssertionError("the caller's photo takes the place of this node")


_BEHAVIOURS: dict[str, Behaviour] = {
    "AV_ControlNetPreprocessor": _preprocess,
    "CR Apply LoRA Stack": _apply_loras,
    "CR Apply Multi-ControlNet": _apply_control_nets,
    "CR LoRA Stack": _stack_loras,
    "CR Multi-ControlNet Stack": _stack_control_nets,
    "LoadImageFromUrl": _not_to_be_called,
    "ReroutePrimitive|pysssss": _pass_through,
    "StringFunction|pysssss": _join,
    "WD14Tagger|pysssss": _tag,
}
