from __future__ import annotations

import importlib
import json

from comfyui_runtime.in_process import comfy
from comfyui_runtime.workflow.editor import parse_definitions

CLASSES = ["CheckpointLoaderSimple", "VAELoader", "KSampler", "SaveImage", "NoSuchClass"]


def test_classes_are_declared_as_object_info_has_them(booted):
    found = comfy.node_definitions(CLASSES)
    assert set(found) == set(CLASSES) - {"NoSuchClass"}
    sampler = parse_definitions(found)["KSampler"]
    assert [one.name for one in sampler.inputs][:3] == ["model", "seed", "steps"]
    assert sampler.outputs == ("LATENT",)
    assert parse_definitions(found)["SaveImage"].is_output


def test_input_that_lists_model_files_says_of_which_folder(booted):
    found = parse_definitions(comfy.node_definitions(CLASSES))
    checkpoint = found["CheckpointLoaderSimple"].input("ckpt_name")
    assert checkpoint.options["model_folder"] == "checkpoints"
    assert found["VAELoader"].input("vae_name").options["model_folder"] == "vae"
    assert found["KSampler"].input("sampler_name").options.get("model_folder") is None


def test_marks_of_the_folders_are_in_no_list_afterwards(booted):
    assert "model-folder:" not in json.dumps(comfy.node_definitions(CLASSES))
    assert not any(
        "model-folder:" in name
        for name in importlib.import_module("folder_paths").get_filename_list("checkpoints")
    )


def test_paid_classes_are_known_without_loading_them(booted, comfyui_dir):
    paid = comfy.paid_class_names(comfyui_dir)
    assert "GeminiNode" in paid
    assert "KSampler" not in paid
