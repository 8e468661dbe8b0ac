"""Graphs and pictures that tests of the Comfy API send."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

GRAPH = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "photo.png"}},
    "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "result"}},
}


def picture(seed: int | None = None) -> bytes:
    """A PNG of 32 x 24 pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def steps_graph(steps: int = 20, seconds: float = 0.02) -> dict[str, object]:
    """A graph that takes its time, with pictures in between."""
    made = {"width": 32, "height": 24, "batch_size": 1, "color": steps}
    return {
        "1": {"class_type": "EmptyImage", "inputs": made},
        "2": {
            "class_type": "TestSteps",
            "inputs": {"image": ["1", 0], "steps": steps, "seconds": seconds},
        },
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}},
    }


def previews_graph(steps: int) -> dict[str, object]:
    """The same with a picture so far in every step."""
    graph = steps_graph(steps, 0.05)
    return {**graph, "2": {**graph["2"], "class_type": "TestPreviews"}}


def inverts(made: bytes, sent: bytes) -> bool:
    """Say whether one picture is the other one's negative; ComfyUI rounds down."""
    with Image.open(BytesIO(made)) as one, Image.open(BytesIO(sent)) as other:
        negative = 255 - np.asarray(other).astype(int)
        return bool((abs(np.asarray(one).astype(int) - negative) <= 1).all())
