"""Which nodes' pictures are taken as pixels."""

from __future__ import annotations

import pytest

from comfyui_runtime.run.picture_nodes import takes_pictures
from comfyui_runtime.workflow.graph import Node

IMAGES = {"images": ["1", 0]}
PNG = {"format": "png", "format.bit_depth": "8-bit", "format.input_color_space": "sRGB"}


@pytest.mark.parametrize(
    ("class_type", "inputs"),
    [
        ("SaveImage", IMAGES),
        ("PreviewImage", IMAGES),
        ("SaveImageAdvanced", IMAGES | PNG),
        ("SaveImageAdvanced", IMAGES | {"format": "png"}),
    ],
)
def test_pictures_of_eight_bits_are_taken_as_pixels(class_type, inputs):
    assert takes_pictures(Node(class_type, inputs, ""))


@pytest.mark.parametrize(
    ("class_type", "inputs"),
    [
        ("SaveImageAdvanced", IMAGES | PNG | {"format.bit_depth": "16-bit"}),
        ("SaveImageAdvanced", IMAGES | {"format": "exr", "format.bit_depth": "32-bit float"}),
        ("SaveImageAdvanced", IMAGES | {"format": ["9", 0]}),
        ("SaveAnimatedWEBP", IMAGES),
        ("SaveImage", {}),
    ],
)
def test_other_nodes_write_their_files_themselves(class_type, inputs):
    assert not takes_pictures(Node(class_type, inputs, ""))
