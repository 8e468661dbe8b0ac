from __future__ import annotations

import pytest

from comfyui_runtime.workflow.graph import Graph, Node
from comfyui_runtime.workflow.manifest import InputRef, Manifest, Workflow
from comfyui_runtime.workflow.model_inputs import MODEL_INPUTS, model_addresses

ADDRESS = "https://example.com/a.safetensors"


def workflow(graph: Graph, **parameters) -> Workflow:
    manifest = Manifest.model_validate(
        {"title": "T", "description": "D", "version": "1", "parameters": parameters}
    )
    return Workflow("it", graph, manifest, "digest")


def test_addresses_in_loaders_and_in_model_parameters_are_found_with_their_folders():
    graph = Graph(
        {
            "1": Node("LoraLoader", {"lora_name": ADDRESS, "note": ADDRESS}, "1"),
            "2": Node("SomePacksLoader", {"file": ADDRESS, "other": ADDRESS}, "2"),
            "3": Node("VAELoader", {"vae_name": "vae.safetensors"}, "3"),
            "4": Node("UNETLoader", {"unet_name": ["1", 0]}, "4"),
        }
    )
    model = {"type": "model", "folder": "embeddings", "default": "x", "description": "D"}
    found = model_addresses(workflow(graph, it=model | {"patches": ["2.file"]}), graph)
    assert found == {
        InputRef("1", "lora_name"): ("loras", ADDRESS),
        InputRef("2", "file"): ("embeddings", ADDRESS),
    }


@pytest.mark.parametrize(("class_type", "name"), MODEL_INPUTS)
def test_the_table_names_inputs_that_comfyui_has_of_folders_that_it_has(booted, class_type, name):
    from comfyui_runtime.in_process import comfy

    declared = comfy.node_definitions([class_type])[class_type]["input"]
    _, options = {**declared["required"], **declared.get("optional", {})}[name]
    assert options["model_folder"] == MODEL_INPUTS[class_type, name]
