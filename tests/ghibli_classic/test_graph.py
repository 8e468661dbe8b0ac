"""The graph fits its node classes, at the defaults and at every bound of every parameter.

Twice over: against the recorded definitions, by the tests' own check, and in ComfyUI's validation,
with stand-ins that declare what is recorded.
"""

from __future__ import annotations

import pytest
from places import PROJECT

from comfyui_runtime.errors import GraphError, MissingModelError
from comfyui_runtime.in_process.validate import validate_graph
from comfyui_runtime.workflow.graph import Graph, parse_graph
from comfyui_runtime.workflow.manifest import load_workflow
from comfyui_runtime.workflow.parameters import (
    SEED_MAX,
    ChoiceParameter,
    IntegerParameter,
    NumberParameter,
    Parameter,
    SeedParameter,
    StringParameter,
    resolve_parameters,
)
from comfyui_runtime.workflow.patch import patch
from ghibli_classic.graph_check import problems

PARAMETERS = load_workflow(PROJECT / "workflows", "ghibli-classic").manifest.parameters
BOTH_CONTROL_NETS = {
    "canny_model": "sai_xl_canny_256lora.safetensors",
    "depth_model": "sai_xl_depth_256lora.safetensors",
}


def bounds(parameter: Parameter) -> list[object]:
    match parameter:
        case NumberParameter() | IntegerParameter():
            return [parameter.minimum, parameter.maximum]
        case SeedParameter():
            return [0, SEED_MAX]
        case ChoiceParameter():
            return list(parameter.choices)
        case StringParameter():
            return ["", "x" * parameter.max_length]
    return [False, True]


VALUES = [
    {},
    BOTH_CONTROL_NETS,
    *({name: value} for name, parameter in PARAMETERS.items() for value in bounds(parameter)),
    *(
        BOTH_CONTROL_NETS | {name: value}
        for name in ("canny_strength", "depth_strength", "canny_preprocessor")
        for value in bounds(PARAMETERS[name])
    ),
]


def label(values: dict[str, object]) -> str:
    return ",".join(f"{name}={str(value)[:12]}" for name, value in values.items()) or "defaults"


@pytest.fixture
def patched(classic):
    def with_values(values: dict[str, object]) -> Graph:
        return patch(classic, resolve_parameters(PARAMETERS, values), {}).graph

    return with_values


@pytest.mark.parametrize("values", VALUES, ids=label)
def test_graph_is_what_its_classes_declare(patched, definitions, model_files, values):
    assert problems(patched(values), definitions, model_files) == []


@pytest.mark.parametrize("values", VALUES, ids=label)
def test_comfyui_accepts_the_graph(patched, calls, model_files, values):
    valid = validate_graph(patched(values), "run", {})
    assert set(valid.outputs_to_run) == {"14", "15", "34"}
    assert valid.warnings == ()


def test_at_the_defaults_only_idle_preprocessors_are_gone_from_the_original(patched, classic):
    graph = patched({"seed": 90883642259392})
    assert classic.graph.nodes.keys() - graph.nodes.keys() == {"17", "22"}
    assert graph.nodes["19"].inputs["controlnet_1"] == "None"
    assert graph.nodes["19"].inputs["controlnet_2"] == "None"
    for node_id, node in graph.nodes.items():
        for name, value in node.inputs.items():
            if (node_id, name) not in {("19", "image_1"), ("19", "image_2")}:
                original = classic.graph.nodes[node_id].inputs[name]
                expected = pytest.approx(original) if isinstance(original, float) else original
                assert value == expected


@pytest.fixture
def found(definitions, model_files):
    return lambda graph: problems(graph, definitions, model_files)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("3", "model_weight_1", 10.5), "3 (CR LoRA Stack): model_weight_1 10.5 is above 10.0"),
        (("14", "threshold", -0.1), "14 (WD14Tagger|pysssss): threshold -0.1 is below 0.0"),
        (("14", "model", "wd-v9"), "14 (WD14Tagger|pysssss): model may not be 'wd-v9'"),
        (
            ("14", "trailing_comma", 1),
            "14 (WD14Tagger|pysssss): trailing_comma takes BOOLEAN and gets 1",
        ),
        (("1", "steps", 6.5), "1 (KSampler): steps takes INT and gets 6.5"),
        (("1", "steps", True), "1 (KSampler): steps takes INT and gets True"),
        (("1", "scheduler", "carras"), "1 (KSampler): scheduler may not be 'carras'"),
        (("16", "vae", ["27", 0]), "16 (VAEEncode): vae takes VAE and gets MODEL"),
        (("6", "clip", ["29", 0]), "6 (CLIPTextEncode): clip takes CLIP and gets VAE"),
        (
            ("15", "text_b", ["14", 1]),
            "15 (StringFunction|pysssss): text_b takes STRING and gets nothing",
        ),
        (("32", "images", ["31", 0]), "32 (ImageScaleToTotalPixels): images is not declared"),
        (
            ("4", "lora_stack", "None"),
            "4 (CR Apply LoRA Stack): lora_stack takes LORA_STACK and gets the constant 'None'",
        ),
    ],
)
def test_what_is_wrong_is_found(patched, found, change, expected):
    assert found(patched({}).with_input(*change)) == [expected]


def test_missing_input_and_unknown_class_are_found(patched, found):
    api = patched({}).to_api()
    del api["18"]["inputs"]["switch"]
    api["8"]["class_type"] = "VAEDecoder"
    assert found(parse_graph(api)) == [
        "8 (VAEDecoder): unknown class",
        "18 (CR Apply Multi-ControlNet): switch is missing",
    ]


def test_comfyui_refuses_a_preprocessor_that_the_pack_does_not_offer(patched, calls, model_files):
    graph = patched(BOTH_CONTROL_NETS).with_input("22", "preprocessor", "depth_magic")
    with pytest.raises(GraphError, match="depth_magic") as caught:
        validate_graph(graph, "run", {})
    assert caught.value.details["node_id"] == "22"


def test_missing_lora_is_named_with_the_node_of_the_pack(patched, calls, model_files, booted):
    file = "StudioGhibli.Redmond-StdGBRRedmAF-StudioGhibli.safetensors"
    path = booted.base_dir / "models" / "loras" / file
    away = path.rename(path.with_suffix(".away"))
    try:
        with pytest.raises(MissingModelError, match=r"StudioGhibli.*node 3") as caught:
            validate_graph(patched({}), "run", {})
    finally:
        away.rename(path)
    assert caught.value.details["file"] == file
