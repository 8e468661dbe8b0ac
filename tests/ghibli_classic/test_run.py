"""The graph runs in ComfyUI's executor, from photo to picture.

Real: the executor with its lists and cache, the scaling of the photo, CLIPTextEncode, VAEEncode,
VAEDecode, ControlNetApplyAdvanced, and how the photo goes in and the picture comes out. Stand-ins:
the packs' classes (see ``stand_ins``), what the loaders would load, and the sampler, which gives
its latent back. What comes out is therefore the scaled photo, in cells of the VAE's size.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from comfyui_runtime.errors import MissingNodeClassError
from comfyui_runtime.in_process import comfy
from comfyui_runtime.in_process.runtime import InProcessRuntime
from comfyui_runtime.run.cancellation import Cancellation
from comfyui_runtime.run.outputs import ImageOutput
from comfyui_runtime.run.runtime import RunResult
from comfyui_runtime.workflow.graph import Node
from comfyui_runtime.workflow.images import PixelImage
from comfyui_runtime.workflow.parameters import resolve_parameters
from comfyui_runtime.workflow.patch import PatchedGraph, patch
from ghibli_classic.stand_ins import TAGS

CELL = 8
LORA = "StudioGhibli.Redmond-StdGBRRedmAF-StudioGhibli.safetensors"
CANNY = "sai_xl_canny_256lora.safetensors"
DEPTH = "sai_xl_depth_256lora.safetensors"


class _TextEncoder:
    def tokenize(self, text: str) -> str:
        return text

    def encode_from_tokens_scheduled(self, tokens: str) -> list[list[object]]:
        return [[tokens, {}]]


class _Vae:
    """One latent cell for 8 x 8 pixels, their mean; what is over at the edges is cut off."""

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(pixels.movedim(-1, 1), CELL)

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.interpolate(latent, scale_factor=CELL).movedim(1, -1)


class _ControlNet:
    def __init__(self, name: str) -> None:
        self.name = name
        self.previous = None

    def copy(self) -> _ControlNet:
        return _ControlNet(self.name)

    def set_cond_hint(self, hint, strength, percent_range, **_):
        self.hint, self.strength, self.percent_range = hint, strength, percent_range
        return self

    def set_previous_controlnet(self, previous) -> None:
        self.previous = previous


class _Checkpoint:
    INPUT_TYPES = classmethod(lambda cls: {"required": {"ckpt_name": ("STRING", {})}})
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    FUNCTION = "load"
    CATEGORY = "test"
    loaded = 0

    def load(self, **_):
        type(self).loaded += 1
        return "model", _TextEncoder(), _Vae()


# Shared by all runs: ComfyUI keeps a node's object, and with it the class that it was made of.
_sampled: list[dict[str, object]] = []


@pytest.fixture(scope="module")
def sampler(booted) -> type:
    """KSampler with all that it declares, which gives its latent back."""

    class Sampler(comfy.node_classes()["KSampler"]):
        def sample(self, **inputs):
            _sampled.append(inputs)
            return (inputs["latent_image"],)

    return Sampler


@pytest.fixture
def sampled(sampler) -> list[dict[str, object]]:
    """What the sampler got, run by run."""
    table = comfy.node_classes()
    table.update({"TestCheckpoint": _Checkpoint, "TestSampler": sampler})
    _sampled.clear()
    yield _sampled
    del table["TestCheckpoint"], table["TestSampler"]


@pytest.fixture
def loras(monkeypatch, booted) -> list[tuple[object, ...]]:
    """What ComfyUI's LoRA loader got."""
    import nodes

    got = []

    def load_lora(self, model, clip, *name_and_weights):
        got.append(name_and_weights)
        return f"{model} with {name_and_weights[0]}", clip

    monkeypatch.setattr(nodes.LoraLoader, "load_lora", load_lora)
    return got


@pytest.fixture(autouse=True)
def control_nets(monkeypatch, booted) -> None:
    import nodes

    monkeypatch.setattr(
        nodes.ControlNetLoader, "load_controlnet", lambda self, name: (_ControlNet(name),)
    )


@pytest.fixture
def stage(runtime, calls, sampled, loras, model_files) -> InProcessRuntime:
    runtime._executor._executor.reset()  # what an earlier test left in ComfyUI's cache
    return runtime


@pytest.fixture
def run(classic, stage):
    def with_values(photo: PixelImage, **values: object) -> RunResult:
        values = resolve_parameters(
            classic.manifest.parameters, {"megapixels": 0.05, "seed": 7} | values
        )
        patched = patch(classic, values, {"image": photo})
        graph = patched.graph
        graph = graph.with_node("5", replace(graph.nodes["5"], class_type="TestCheckpoint"))
        graph = graph.with_node("1", replace(graph.nodes["1"], class_type="TestSampler"))
        return stage.run(replace(patched, graph=graph, models=()), Cancellation(60))

    return with_values


def nearest(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scale by taking the pixel nearest to the middle of each new one, in torch's precision."""
    rows, columns = (
        ((np.arange(new, dtype=np.float32) + 0.5) * np.float32(old / new)).astype(int)
        for old, new in zip(pixels.shape, (height, width), strict=False)
    )
    return pixels[rows][:, columns]


def in_cells(pixels: np.ndarray) -> np.ndarray:
    height, width = (side // CELL * CELL for side in pixels.shape[:2])
    cells = pixels[:height, :width].reshape(height // CELL, CELL, width // CELL, CELL, 3)
    return cells.mean(axis=(1, 3)).repeat(CELL, 0).repeat(CELL, 1)


def picture(result: RunResult) -> np.ndarray:
    output, *_texts = result.outputs
    assert isinstance(output, ImageOutput)
    return output.image.pixels


def test_photo_comes_out_at_its_size_through_every_node(run, photo):
    result = run(photo)
    scaled = nearest(photo.pixels, 198, 264)
    assert abs(198 * 264 - 0.05 * 1024 * 1024) < 300
    expected = in_cells(scaled.astype(float))
    assert picture(result).shape == (192, 264, 3)
    assert np.abs(picture(result) - expected).max() <= 1.01


def test_tags_stand_between_the_two_prompts_and_the_negative_prompt_is_the_callers(
    run, photo, sampled
):
    run(photo, prompt_prefix="a painting,", prompt_suffix="8k", negative_prompt="fog")
    ((positive, _),) = sampled[0]["positive"]
    ((negative, _),) = sampled[0]["negative"]
    assert positive == f"a painting, {TAGS}, 8k"
    assert negative == "fog"


def test_defaults_reach_the_sampler_the_tagger_and_the_lora_loader(
    run, photo, sampled, calls, loras
):
    run(photo, megapixels=0.01)
    (inputs,) = sampled
    settings = {
        name: inputs[name]
        for name in ("seed", "steps", "cfg", "sampler_name", "scheduler", "denoise")
    }
    assert settings == {
        "seed": 7,
        "steps": 6,
        "cfg": 2.0,
        "sampler_name": "dpmpp_sde",
        "scheduler": "karras",
        "denoise": 0.6,
    }
    assert inputs["model"] == f"model with {LORA}"
    assert loras == [(LORA, 0.9, 1.0)]
    ((_, tagger),) = [call for call in calls if call[0] == "WD14Tagger|pysssss"]
    assert tagger["model"] == "wd-v1-4-moat-tagger-v2"
    assert (tagger["threshold"], tagger["character_threshold"]) == (0.35, 0.85)


def test_callers_values_reach_the_nodes(run, photo, sampled, calls, loras):
    run(
        photo,
        seed=2**64 - 1,
        steps=4,
        cfg=1.5,
        sampler="euler",
        scheduler="beta",
        strength=0.3,
        lora_strength=0.4,
        lora_text_strength=0.2,
        tag_threshold=0.5,
        character_tag_threshold=1.0,
        exclude_tags="tree",
    )
    assert sampled[0]["seed"] == 2**64 - 1
    assert (sampled[0]["steps"], sampled[0]["cfg"]) == (4, 1.5)
    assert (sampled[0]["sampler_name"], sampled[0]["scheduler"]) == ("euler", "beta")
    assert sampled[0]["denoise"] == 0.3
    assert loras == [(LORA, 0.4, 0.2)]
    ((_, tagger),) = [call for call in calls if call[0] == "WD14Tagger|pysssss"]
    assert (tagger["threshold"], tagger["character_threshold"]) == (0.5, 1.0)
    assert tagger["exclude_tags"] == "tree"


def test_without_a_controlnet_no_preprocessor_runs_and_no_conditioning_has_one(
    run, photo, sampled, calls
):
    run(photo)
    assert "AV_ControlNetPreprocessor" not in [name for name, _ in calls]
    for side in ("positive", "negative"):
        assert [more for _, more in sampled[0][side]] == [{}]


def test_both_controlnets_follow_what_is_drawn_of_the_photo(run, photo, sampled):
    run(photo, canny_model=CANNY, canny_strength=0.5, depth_model=DEPTH, depth_strength=0.25)
    for side in ("positive", "negative"):
        ((_, more),) = sampled[0][side]
        depth = more["control"]
        canny = depth.previous
        assert (depth.name, depth.strength, depth.percent_range) == (DEPTH, 0.25, (0, 1))
        assert (canny.name, canny.strength, canny.percent_range) == (CANNY, 0.5, (0, 1))
        for net in (canny, depth):
            drawn = net.hint[0].movedim(0, -1).numpy() * 255
            assert np.abs(255 - photo.pixels - drawn).max() < 0.01


def test_canny_without_a_preprocessor_follows_the_photo_itself(run, photo, sampled):
    run(photo, canny_model=CANNY, canny_preprocessor="None")
    ((_, more),) = sampled[0]["positive"]
    drawn = more["control"].hint[0].movedim(0, -1).numpy() * 255
    assert np.abs(photo.pixels - drawn).max() < 0.01
    assert more["control"].previous is None


def test_second_photo_does_not_load_the_models_again(run, photo, loras):
    run(photo)
    loaded = _Checkpoint.loaded
    second = PixelImage(np.ascontiguousarray(photo.pixels[::-1]))
    result = run(second)
    assert {"3", "4", "5", "27", "28", "29", "7"} <= set(result.cached_nodes)
    assert _Checkpoint.loaded == loaded
    assert len(loras) == 1


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (640, 480)])
def test_photo_is_scaled_to_one_megapixel_by_its_nearest_pixels(
    runtime, classic, calls, model_files, size
):
    width, height = size
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)
    values = resolve_parameters(classic.manifest.parameters, {})
    patched = patch(classic, values, {"image": PixelImage(pixels)})
    nodes = {node_id: patched.graph.nodes[node_id] for node_id in ("30", "31", "32")}
    nodes["34"] = Node("SaveImage", {"images": ["32", 0], "filename_prefix": "x"}, "Result")
    part = PatchedGraph(type(patched.graph)(nodes), patched.images)
    result = picture(runtime.run(part, Cancellation(60)))
    assert abs(result.shape[0] * result.shape[1] / 1024**2 - 1) < 0.002
    assert abs(result.shape[1] / result.shape[0] - width / height) < 0.002
    assert np.array_equal(result, nearest(pixels, *result.shape[:2]))


def test_without_the_packs_the_error_names_the_pack_to_install(
    runtime, classic, photo, model_files
):
    values = resolve_parameters(classic.manifest.parameters, {})
    patched = patch(classic, values, {"image": photo})
    with pytest.raises(MissingNodeClassError, match="ComfyUI_Comfyroll_CustomNodes") as caught:
        runtime.run(patched, Cancellation(60))
    assert caught.value.details == {
        "node_id": "3",
        "class_type": "CR LoRA Stack",
        "pack": "ComfyUI_Comfyroll_CustomNodes",
    }
