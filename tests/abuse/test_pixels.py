"""Small files of many pixels."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from io import BytesIO

import pytest
from PIL import Image
from places import TESTS
from platforms_support.http_server import PICTURE, error_of


def flat_png(width: int, height: int) -> str:
    file = BytesIO()
    Image.new("RGBA", (width, height), (1, 2, 3, 100)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


@pytest.fixture
def two_images(tmp_path):
    folder = tmp_path / "workflows" / "pair"
    folder.mkdir(parents=True)
    graph = json.loads((TESTS / "workflows" / "invert" / "graph.json").read_text())
    graph["11"] = {"class_type": "LoadImage", "inputs": {"image": "other.png"}}
    graph["12"] = {
        "class_type": "SaveImage",
        "inputs": {"images": ["11", 0], "filename_prefix": "x"},
    }
    (folder / "graph.json").write_text(json.dumps(graph))
    node = next(key for key, node in graph.items() if node["class_type"] == "LoadImage")
    (folder / "manifest.toml").write_text(
        f'title = "Pair"\ndescription = "For tests."\nversion = "1"\n'
        f'[images.first]\nnode = "{node}"\ndescription = "A photo."\n'
        f'[images.second]\nnode = "11"\ndescription = "A photo."\n'
    )
    return folder.parent


def test_images_of_a_job_share_its_pixels(attacked, two_images):
    server = attacked(boot=True, workflows_dir=two_images, input_max_pixels=100_000)

    def send(first: str, second: str):
        images = {"first": first, "second": second}
        return server.post("/v1/invoke", {"input": {"workflow": "pair", "images": images}})

    half, large = flat_png(250, 200), flat_png(251, 200)
    assert send(half, half).status_code == 200
    refused = error_of(send(half, large), 413, "input_too_large")
    assert "INPUT_MAX_PIXELS" in refused["error"]["message"]
    error_of(send(large, large), 413, "input_too_large")
    assert send(large, PICTURE).status_code == 200


MEASURE = """
import base64, sys
from comfyui_runtime.in_process.comfy import pictures
from handler.inputs.decode import decode_image
import torch

def status(name):  # in bytes; getrusage would count what the process was before it became this one
    with open("/proc/self/status") as file:
        [line] = [line for line in file if line.startswith(name + ":")]
    return int(line.split()[1]) * 1024

pixels = int(sys.argv[1])
before = status("VmRSS")
image = decode_image("a", base64.b64decode(sys.stdin.read()), max_pixels=pixels)
with pictures.offered_images({"a": image}):
    kept = pictures.ImageInput().load(image.digest)
print((status("VmHWM") - before) / pixels)
"""


@pytest.mark.slow
@pytest.mark.fault(
    "A picture has many pixels",
    "a pixel takes no more memory than the settings page says",
)
def test_a_pixel_takes_no_more_memory_than_the_settings_page_says():
    """20 bytes: 4 decoded, 12 as IMAGE, 4 as MASK; and some for the decoder's buffers."""
    width, height = 4000, 2500
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, str(width * height)],
        input=flat_png(width, height),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert 15 < float(result.stdout) < 24
