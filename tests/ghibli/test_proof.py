"""The Ghibli workflow, whole, on the CPU: from a photo's URL to the picture's URL in a bucket.

Real: ComfyUI, the SDXL architecture at its full size, the control LoRAs, the depth model, the
tagger's runtime, HTTP, S3's protocol. Generated: the weights, so that the pictures mean nothing,
but differ where they should and agree where they should.

It takes 11 GB of memory beside the cached files and 11 GB of disk, where the generated models stay
for the next time.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import threading
import urllib.request
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import boto3
import numpy as np
import psutil
import pytest
from generated_models import ensure_generated_models
from moto.server import ThreadedMotoServer
from PIL import Image
from places import PROJECT

NODE_PACKS = PROJECT / "tests" / "node_packs"
BUCKET = "pictures"
GIB = 1024**3
SMALL = {"megapixels": 0.01, "steps": 1, "sampler": "euler", "auto_tags": False, "seed": 1}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.sdxl,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        psutil.virtual_memory().total < 20 * GIB, reason="needs 20 GiB of memory in all"
    ),
]

# In this order, so that two pictures which should be the same are not both ComfyUI's one cached.
PARAMS = {
    "plain": {},
    "other seed": {"seed": 2},
    "plain again": {},
    "other photo": {},
    "no LoRA": {"lora_strength": 0.0, "lora_text_strength": 0.0},
    "full LoRA": {"lora_strength": 1.0, "lora_text_strength": 1.0},
    "own tags": {"tags": "a red boat on a lake", "prompt": "autumn evening"},
    "tagger": {"auto_tags": True},
    "prompt text": {"auto_tags": True, "tags": "a red boat", "prompt": "autumn evening"},
    "edges": {"canny_strength": 0.7},
    "depth": {"depth_strength": 0.7},
    "edges and depth": {"canny_strength": 0.7, "depth_strength": 0.7},
}


@dataclass(frozen=True)
class Picture:
    pixels: np.ndarray
    graph: dict[str, dict[str, object]]
    cached_nodes: list[str]
    texts: list[str]

    @property
    def classes(self) -> set[object]:
        return {node["class_type"] for node in self.graph.values()}


@pytest.fixture(scope="module")
def models_dir(comfyui_dir) -> Path:
    folder = Path(os.environ.get("GENERATED_MODELS_DIR", PROJECT / ".comfyui/generated-models"))
    folder.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder).free < 1 * GIB:
        pytest.skip("needs 11 GB of disk")
    ensure_generated_models(folder, comfyui_dir, control_rank=32)
    return folder


@pytest.fixture(scope="module")
def photo_server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    with Image.open(PROJECT / "samples" / "lake.jpg") as photo:
        photo.resize((400, 300)).save(folder / "lake.jpg")
        photo.resize((400, 300)).transpose(Image.Transpose.ROTATE_180).save(folder / "other.jpg")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def bucket_url():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
    client = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys)
    client.create_bucket(Bucket=BUCKET)
    client.close()
    yield url
    server.stop()


@pytest.fixture(scope="module")
def workflows(tmp_path_factory) -> Path:
    """The bundled workflow, and the same with its prompt's text as a second output."""
    folder = tmp_path_factory.mktemp("workflows")
    shutil.copytree(PROJECT / "workflows" / "ghibli", folder / "ghibli")
    shutil.copytree(PROJECT / "workflows" / "ghibli", folder / "ghibli-text")
    file = folder / "ghibli-text" / "graph.json"
    graph = json.loads(file.read_text())
    (prompt,) = [node for node in graph.values() if node["_meta"]["title"] == "Prompt"]
    graph["99"] = {
        "class_type": "TestSaveText",
        "inputs": {"text": prompt["inputs"]["text"]},
        "_meta": {"title": "Prompt's text"},
    }
    file.write_text(json.dumps(graph))
    return folder


@pytest.fixture(scope="module")
def pictures(
    tmp_path_factory, comfyui_dir, models_dir, photo_server, bucket_url, workflows
) -> dict[str, Picture]:
    base_dir = tmp_path_factory.mktemp("base")
    (base_dir / "custom_nodes").mkdir()
    for pack in (NODE_PACKS / "test_nodes", PROJECT / "node_packs" / "wd14_tags"):
        shutil.copytree(pack, base_dir / "custom_nodes" / pack.name)
    environment = {
        **os.environ,
        "COMFYUI_DIR": str(comfyui_dir),
        "COMFYUI_BASE_DIR": str(base_dir),
        "COMFYUI_MODEL_DIRS": str(models_dir),
        "COMFYUI_DEVICE": "cpu",
        # Weights stay as wide as they are in the file: half of the memory.
        "COMFYUI_ARGS": "--fp16-unet",
        "WORKFLOWS_DIR": str(workflows),
        "INPUT_ALLOWED_HOSTS": "127.0.0.1",
        "BUCKET_ENDPOINT_URL": bucket_url,
        "BUCKET_NAME": BUCKET,
        "BUCKET_ACCESS_KEY_ID": "key",
        "BUCKET_SECRET_ACCESS_KEY": "secret",
        "LOG_FORMAT": "json",
        "PYTHONPATH": str(PROJECT),
        # Large blocks are reused rather than mapped anew with each layer.
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": "100000000000",
    }
    events = [
        {
            "id": name,
            "input": {
                "workflow": "ghibli-text" if name == "prompt text" else "ghibli",
                "image": f"{photo_server}/{'other' if name == 'other photo' else 'lake'}.jpg",
                "params": SMALL | params,
                "output": {"embed_workflow": True},
            },
        }
        for name, params in PARAMS.items()
    ]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("run_events.py"))],
        input=json.dumps(events),
        env=environment,
        cwd=base_dir,
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    records = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    cached = {
        record["job_id"]: record["cached_nodes"]
        for record in records
        if record["event"] == "graph ran"
    }
    responses = [json.loads(line) for line in done.stdout.splitlines()]
    return {
        response["given_id"]: picture(response, cached[response["job_id"]])
        for response in responses
    }


def picture(response: dict[str, object], cached_nodes: list[str]) -> Picture:
    assert response["status"] == "succeeded", response
    pixels, graph, texts = None, {}, []
    for output in response["outputs"]:
        with urllib.request.urlopen(output["url"], timeout=20) as answer:
            data = answer.read()
        if output["content_type"] == "image/png":
            with Image.open(BytesIO(data)) as image:
                pixels, graph = np.asarray(image), json.loads(image.info["prompt"])
        else:
            texts.append(data.decode())
    return Picture(pixels, graph, cached_nodes, texts)


def difference(one: Picture, other: Picture) -> float:
    return float(np.abs(one.pixels.astype(int) - other.pixels).mean())


@pytest.mark.parametrize("name", PARAMS)
def test_every_combination_of_branches_gives_a_picture_of_the_right_size(pictures, name):
    pixels = pictures[name].pixels
    height, width, channels = pixels.shape
    assert channels == 3
    assert width % 8 == height % 8 == 0
    assert width * height == pytest.approx(0.01 * 1024 * 1024, rel=0.12)
    assert pixels.std() > 1


def test_same_seed_is_bit_for_bit_the_same(pictures):
    assert "22" not in pictures["plain again"].cached_nodes
    assert np.array_equal(pictures["plain"].pixels, pictures["plain again"].pixels)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("plain", "other seed"),
        ("plain", "other photo"),
        ("no LoRA", "full LoRA"),
        ("plain", "own tags"),
        ("plain", "tagger"),
        ("plain", "edges"),
        ("plain", "depth"),
        ("edges", "edges and depth"),
    ],
)
def test_what_should_change_the_picture_does(pictures, one, other):
    assert difference(pictures[one], pictures[other]) > 0.5


def test_second_photo_does_not_load_the_checkpoint_again(pictures):
    second = pictures["other photo"]
    loaders = {
        node_id
        for node_id, node in second.graph.items()
        if node["class_type"] in {"CheckpointLoaderSimple", "LoraLoader", "CLIPTextEncode"}
    }
    assert len(loaders) == 4
    assert loaders <= set(second.cached_nodes)
    assert "1" not in second.cached_nodes


def test_branch_whose_strength_is_zero_is_not_in_the_graph(pictures):
    assert not {"Canny", "ControlNetLoader", "WD14Tags"} & pictures["plain"].classes
    assert "LotusConditioning" not in pictures["edges"].classes
    assert "Canny" not in pictures["depth"].classes
    assert "LoraLoader" not in pictures["no LoRA"].classes
    assert "Canny" in pictures["edges"].classes
    assert "LotusConditioning" in pictures["depth"].classes
    assert "WD14Tags" in pictures["tagger"].classes


def test_tags_and_the_callers_words_reach_the_prompt(pictures, models_dir):
    (text,) = pictures["prompt text"].texts
    assert text.startswith("StdGBRRedmAF, Studio Ghibli")
    assert text.endswith("a red boat, autumn evening")
    (tags_file,) = (models_dir / "wd14_tagger").glob("*.csv")
    known = {line.split(",")[1].replace("_", " ") for line in tags_file.read_text().splitlines()}
    words = [word.strip() for word in text.replace("\\", "").split(",")]
    assert sum(word in known for word in words) >= 3
