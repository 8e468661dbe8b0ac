"""The conversion beside the editor's own, for what shows every rule at once and a few templates."""

from __future__ import annotations

import os
import shutil

import pytest

from bench.editor_comparison import compare, front_end, open_editor
from handler.adding.source import read_source, template_folder

pytestmark = pytest.mark.slow  # a browser

TEMPLATES = [
    "image_qwen_image",  # subgraphs, switches, primitives of classes
    "video_wan2_2_14B_i2v",  # promoted widgets of older editors
    "flux_canny_model_example",
    "image_sdxl_simple",
    "sdxl_refiner_prompt_example",  # primitives of the editor's
    "flux_schnell",
]


def node(number, kind, values=None, inputs=(), outputs=(), mode=0):
    return {
        "id": number,
        "type": kind,
        "mode": mode,
        "pos": [0, 0],
        "size": [200, 100],
        "flags": {},
        "order": number,
        "properties": {},
        "inputs": [
            {
                "name": name,
                "type": slot_type,
                "link": link,
                **({"widget": {"name": name}} if slot_type in {"INT", "STRING"} else {}),
            }
            for name, slot_type, link in inputs
        ],
        "outputs": [
            {"name": name, "type": name, "links": links, "slot_index": index}
            for index, (name, links) in enumerate(outputs)
        ],
        **({} if values is None else {"widgets_values": values}),
    }


EVERY_RULE = {
    "last_node_id": 40,
    "last_link_id": 40,
    "version": 0.4,
    "config": {},
    "extra": {},
    "groups": [],
    "nodes": [
        node(
            1,
            "CheckpointLoaderSimple",
            ["m.safetensors"],
            (),
            [("MODEL", [1]), ("CLIP", [2, 3]), ("VAE", [9])],
        ),
        node(
            2,
            "LoraLoaderModelOnly",
            ["l.safetensors", 0.7],
            [("model", "MODEL", 1)],
            [("MODEL", [4])],
            mode=4,
        ),
        node(3, "Reroute", None, [("", "*", 4)], [("MODEL", [5])]),
        node(
            4,
            "CLIPTextEncode",
            ["a /* not this */ picture"],
            [("clip", "CLIP", 2)],
            [("CONDITIONING", [6])],
        ),
        node(5, "CLIPTextEncode", ["ugly"], [("clip", "CLIP", 3)], [("CONDITIONING", [7])], mode=2),
        node(6, "EmptyLatentImage", [640, 512, 1], [("width", "INT", 12)], [("LATENT", [8])]),
        node(
            7,
            "KSampler",
            [123, "randomize", 8, 2.5, "euler", "karras", 1],
            [
                ("model", "MODEL", 5),
                ("positive", "CONDITIONING", 6),
                ("negative", "CONDITIONING", 7),
                ("latent_image", "LATENT", 8),
                ("steps", "INT", 13),
            ],
            [("LATENT", [10])],
        ),
        node(
            8, "VAEDecode", None, [("samples", "LATENT", 10), ("vae", "VAE", 9)], [("IMAGE", [11])]
        ),
        node(9, "SaveImage", ["%KSampler.steps%"], [("images", "IMAGE", 11)]),
        node(10, "PrimitiveNode", [768, "fixed"], (), [("INT", [12])]),
        node(11, "PrimitiveNode", [33, "fixed"], (), [("INT", [13])]),
        node(12, "Note", ["read me"]),
        node(13, "LoadImage", ["a.png", "image"], (), [("IMAGE", [14]), ("MASK", [])]),
        node(14, "PreviewImage", None, [("images", "IMAGE", 14)]),
    ],
    "links": [
        [1, 1, 0, 2, 0, "MODEL"],
        [2, 1, 1, 4, 0, "CLIP"],
        [3, 1, 1, 5, 0, "CLIP"],
        [4, 2, 0, 3, 0, "MODEL"],
        [5, 3, 0, 7, 0, "MODEL"],
        [6, 4, 0, 7, 1, "CONDITIONING"],
        [7, 5, 0, 7, 2, "CONDITIONING"],
        [8, 6, 0, 7, 3, "LATENT"],
        [9, 1, 2, 8, 1, "VAE"],
        [10, 7, 0, 8, 0, "LATENT"],
        [11, 8, 0, 9, 0, "IMAGE"],
        [12, 10, 0, 6, 0, "INT"],
        [13, 11, 0, 7, 4, "INT"],
        [14, 13, 0, 14, 0, "IMAGE"],
    ],
}


@pytest.fixture(scope="module")
def editor(comfyui_dir):
    if front_end() is None or shutil.which("chromium") is None:
        missing = "needs comfyui-frontend-package, chromium and chromium-driver"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    with open_editor(comfyui_dir) as (editor, definitions):
        yield editor, definitions


def test_every_rule_of_the_format_gives_what_the_editor_gives(editor):
    comparison = compare("every rule", EVERY_RULE, *editor)
    assert comparison.counts
    assert comparison.differences == ()


@pytest.mark.skipif(template_folder() is None, reason="needs comfyui-workflow-templates-json")
@pytest.mark.parametrize("name", TEMPLATES)
def test_template_gives_what_the_editor_gives(editor, name):
    comparison = compare(name, read_source(name).data, *editor)
    assert comparison.error is None
    assert comparison.differences == ()
