"""Inputs of ComfyUI's own loaders that name a model file, and the folder kind that it is of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfyui_runtime.workflow.manifest import InputRef
from comfyui_runtime.workflow.parameters import ModelParameter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from comfyui_runtime.workflow.graph import Graph
    from comfyui_runtime.workflow.manifest import Workflow

MODEL_INPUTS: Mapping[tuple[str, str], str] = {
    ("CheckpointLoaderSimple", "ckpt_name"): "checkpoints",
    ("CLIPLoader", "clip_name"): "text_encoders",
    ("CLIPVisionLoader", "clip_name"): "clip_vision",
    ("ControlNetLoader", "control_net_name"): "controlnet",
    ("DiffControlNetLoader", "control_net_name"): "controlnet",
    ("DualCLIPLoader", "clip_name1"): "text_encoders",
    ("DualCLIPLoader", "clip_name2"): "text_encoders",
    ("LoraLoader", "lora_name"): "loras",
    ("LoraLoaderModelOnly", "lora_name"): "loras",
    ("StyleModelLoader", "style_model_name"): "style_models",
    ("UNETLoader", "unet_name"): "diffusion_models",
    ("UpscaleModelLoader", "model_name"): "upscale_models",
    ("VAELoader", "vae_name"): "vae",
    ("unCLIPCheckpointLoader", "ckpt_name"): "checkpoints",
}
"""The folder kind by node class and input."""


def is_model_address(value: object) -> bool:
    """Say whether an input's value is an address in place of a file's name."""
    return isinstance(value, str) and value.lower().startswith(("https://", "http://"))


def model_addresses(workflow: Workflow, graph: Graph) -> dict[InputRef, tuple[str, str]]:
    """Return the folder kind and the address for each input that names a model by its address.

    Args:
        workflow: Where the graph comes from; its parameters of the type model count as well.
    """
    declared = {
        InputRef.parse(text): parameter.folder
        for parameter in workflow.manifest.parameters.values()
        if isinstance(parameter, ModelParameter)
        for text in parameter.patches
    }
    found = {}
    for node_id, node in graph.nodes.items():
        for name, value in node.inputs.items():
            reference = InputRef(node_id, name)
            folder = declared.get(reference) or MODEL_INPUTS.get((node.class_type, name))
            if folder is not None and isinstance(value, str) and is_model_address(value):
                found[reference] = (folder, value)
    return found
