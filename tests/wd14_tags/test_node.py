"""The tagger node in real graphs, with a generated model."""

from __future__ import annotations

import numpy as np
import pytest
from generated_models.tagger import write_tagger, write_tags
from tagging import Choice, choose_tags, load_tagger, prompt_text, tags_file

from comfyui_runtime.errors import MissingModelError, NodeError
from comfyui_runtime.in_process import comfy
from comfyui_runtime.run.cancellation import Cancellation
from comfyui_runtime.run.outputs import FileOutput
from comfyui_runtime.workflow.graph import parse_graph
from comfyui_runtime.workflow.images import PixelImage
from comfyui_runtime.workflow.patch import PatchedGraph

MODEL = "generated.onnx"


@pytest.fixture(scope="module")
def model_file(booted):
    file = booted.base_dir / "models" / "wd14_tagger" / MODEL
    write_tagger(file)
    write_tags(tags_file(file))
    yield file
    file.unlink()
    tags_file(file).unlink()


@pytest.fixture
def describe(runtime, model_file):
    def run(photo: PixelImage, **inputs: object) -> str:
        graph = {
            "1": {"class_type": "LoadImage", "inputs": {"image": "photo.png"}},
            "2": {
                "class_type": "WD14Tags",
                "inputs": {
                    "image": ["1", 0],
                    "model": MODEL,
                    "threshold": 0.35,
                    "character_threshold": 0.85,
                    "exclude_tags": "",
                    "replace_underscore": True,
                }
                | inputs,
            },
            "3": {"class_type": "TestSaveText", "inputs": {"text": ["2", 0]}},
        }
        patched = PatchedGraph(parse_graph(graph), {"1": photo})
        (output,) = runtime.run(patched, Cancellation(60.0)).outputs
        assert isinstance(output, FileOutput)
        return output.data.decode()

    return run


def expected_names(model_file, photo: PixelImage, choice: Choice) -> list[str]:
    tagger = load_tagger(model_file)
    return choose_tags(tagger.tags, tagger.probabilities(photo.pixels), choice)


def test_the_tags_of_the_photo_come_out_as_prompt_text(describe, model_file, photo):
    names = expected_names(model_file, photo, Choice())

    assert names
    assert describe(photo) == prompt_text(names, replace_underscore=True)
    assert describe(photo, replace_underscore=False) == ", ".join(names)


def test_thresholds_choose_general_tags_and_characters_apart(describe, model_file, photo):
    everyone = expected_names(model_file, photo, Choice(1.0, 0.05))
    text = describe(photo, threshold=1.0, character_threshold=0.05)

    assert everyone
    assert text == prompt_text(everyone, replace_underscore=True)
    assert r"\(series" in text


def test_excluded_tags_do_not_come_out(describe, photo):
    first, second, *_ = describe(photo).split(", ")
    without = describe(photo, exclude_tags=f"{first.upper()}, {second.replace(' ', '_')}")

    assert not {first, second} & set(without.split(", "))


def test_transparent_photo_is_described(describe):
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (40, 60, 4), dtype=np.uint8)

    assert describe(PixelImage(pixels))


def test_a_batch_is_described_as_one(runtime, model_file, photo):
    import torch

    WD14Tags = comfy.node_classes()["WD14Tags"]  # noqa: N806 - a class
    batch = torch.from_numpy(np.stack([photo.pixels, photo.pixels[:, ::-1]])).float() / 255
    inputs = (MODEL, 0.35, 1.0, "")
    (both,) = WD14Tags().describe(batch, *inputs, replace_underscore=False)
    apart = [
        WD14Tags().describe(picture, *inputs, replace_underscore=False)[0].split(", ")
        for picture in batch.split(1)
    ]

    assert apart[0] != apart[1]
    assert set(both.split(", ")) == set(apart[0]) | set(apart[1])


def test_a_model_that_is_in_no_folder_is_refused_before_anything_runs(describe, photo):
    with pytest.raises(MissingModelError, match=r"absent\.onnx"):
        describe(photo, model="absent.onnx")


def test_a_missing_tag_list_is_named(describe, model_file, photo):
    kept = tags_file(model_file).rename(model_file.with_suffix(".kept"))
    try:
        with pytest.raises(NodeError, match=r"generated\.csv, which is not in"):
            describe(photo)
    finally:
        kept.rename(tags_file(model_file))
