"""A lazy boot offers what an eager one does; each boots in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import index_nodes
from places import PROJECT

from comfyui_runtime.errors import MissingNodeClassError
from comfyui_runtime.in_process.comfy.node_index import read_node_index
from comfyui_runtime.run.cancellation import Cancellation
from comfyui_runtime.workflow.graph import parse_graph
from comfyui_runtime.workflow.patch import PatchedGraph

pytestmark = pytest.mark.slow

BOOT = """
import importlib, json, sys, tempfile, warnings
from pathlib import Path
from comfyui_runtime.in_process import comfy
from comfyui_runtime.in_process.boot import boot
from comfyui_runtime.in_process.comfy.lazy_imports import is_pending
from comfyui_runtime.in_process.options import BootOptions
warnings.simplefilter("ignore")
options = BootOptions(
    Path(sys.argv[1]), Path(sys.argv[2]), device="cpu", api_nodes=True, lazy=sys.argv[3] == "lazy"
)
runtime, report = boot(options)
"""

# The laziness budget: none of these may be executed before a graph needs it.
MAY_NOT_EXECUTE = (
    "comfy.sd",
    "comfy.samplers",
    "comfy.model_base",
    "comfy.lora",
    "comfy.hooks",
    "comfy.ldm.modules.attention",
    "comfy.sd1_clip",
    "latent_preview",
    "server",
    "scipy.stats",
    "torch._dynamo",
    "torchaudio",
    "torchvision",
    "transformers",
)

EVERYTHING = (
    BOOT
    + f"MAY_NOT_EXECUTE = {MAY_NOT_EXECUTE!r}\n"
    + """
offered = sorted(runtime.node_classes())
pending = [name for name in MAY_NOT_EXECUTE if name in sys.modules and not is_pending(name)]
classes = dict(comfy.node_classes().items())
print(json.dumps({
    "offered": offered,
    "executed_at_boot": pending,
    "count": report.node_class_count,
    "failed": report.failed_core_files,
    "classes": {name: f"{c.__module__}.{c.__qualname__}" for name, c in classes.items()},
    "inputs": {name: repr(c.INPUT_TYPES()) for name, c in classes.items()},
}))
"""
)

TOKENS = (
    BOOT
    + """
before = [name for name in ("transformers", "torchvision", "scipy") if name in sys.modules]
tokenizer = importlib.import_module("comfy.sd1_clip").SD1Tokenizer()
tokens = [token for token, _ in tokenizer.tokenize_with_weights("a red cat")["l"][0]]
nodes = importlib.import_module("nodes")
samplers = nodes.KSampler.INPUT_TYPES()["required"]["sampler_name"][0]
prompt_server = importlib.import_module("server").PromptServer.instance
print(json.dumps({
    "imported_before": before,
    "tokens": tokens[:5],
    "has_sde_sampler": "dpmpp_sde" in samplers,
    "beta": len(importlib.import_module("comfy.samplers").beta_scheduler(
        importlib.import_module("comfy.model_sampling").ModelSamplingDiscrete(), 4)),
    "server": type(prompt_server).__name__,
}))
"""
)


def output_of(script: str, *arguments: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=PROJECT,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="module")
def indexed_dir(comfyui_dir, tmp_path_factory) -> Path:
    base = tmp_path_factory.mktemp("indexed")
    index_nodes(comfyui_dir, base)
    return base


@pytest.fixture(scope="module")
def eager(comfyui_dir, indexed_dir) -> dict:
    return output_of(EVERYTHING, str(comfyui_dir), str(indexed_dir), "eager")


@pytest.fixture(scope="module")
def lazy(comfyui_dir, indexed_dir) -> dict:
    return output_of(EVERYTHING, str(comfyui_dir), str(indexed_dir), "lazy")


def test_lazy_boot_executes_none_of_the_large_modules(lazy):
    assert lazy["executed_at_boot"] == []


def test_lazy_boot_gives_the_same_classes_with_the_same_inputs_when_asked_for_all(lazy, eager):
    assert lazy["classes"] == eager["classes"]
    assert lazy["inputs"] == eager["inputs"]


def test_lazy_boot_offers_the_same_names_before_anything_is_loaded(lazy, eager, indexed_dir):
    failed = set(eager["failed"])
    files = read_node_index(indexed_dir).core
    broken = {name for file, names in files.items() if Path(file).name in failed for name in names}
    assert set(lazy["offered"]) - broken == set(eager["offered"])
    assert lazy["count"] == len(lazy["offered"])


ALONE = (
    BOOT
    + """
import os
nodes = importlib.import_module("nodes")
for name in ("torch._dynamo", "comfy.sd", "comfy.samplers", "comfy.controlnet", "server"):
    dir(importlib.import_module(name))  # once for all of the children
from comfyui_runtime.in_process.comfy.node_index import read_node_index
failed = {}
for file, names in read_node_index(options.base_dir).core.items():
    child = os.fork()
    if child == 0:
        found = nodes.NODE_CLASS_MAPPINGS.get(names[0])
        os._exit(0 if found is not None else 1)
    if os.waitpid(child, 0)[1] != 0:
        failed[Path(file).name] = names[0]
print(json.dumps(failed))
"""
)


def test_every_node_file_loads_first_and_alone(comfyui_dir, indexed_dir, eager):
    failed = output_of(ALONE, str(comfyui_dir), str(indexed_dir), "lazy")
    assert set(failed) == set(eager["failed"]) & set(failed)


def test_lazy_modules_do_their_work_at_first_use(comfyui_dir, indexed_dir):
    seen = output_of(TOKENS, str(comfyui_dir), str(indexed_dir), "lazy")
    assert seen == {
        "imported_before": [],
        "tokens": [49406, 320, 736, 2368, 49407],
        "has_sde_sampler": True,
        "beta": 5,
        "server": "InProcessPromptServer",
    }


def run(runtime, graph, photo):
    return runtime.run(PatchedGraph(parse_graph(graph), {"1": photo}), Cancellation(60))


def test_node_that_sends_messages_through_comfyuis_server_runs(runtime, photo):
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "photo.png"}},
        "2": {"class_type": "GetImageSize", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "PreviewAny", "inputs": {"source": ["2", 0]}},
    }
    assert set(run(runtime, graph, photo).node_seconds) == {"1", "2", "3"}


def test_class_whose_file_does_not_import_is_missing_with_the_reason(runtime, photo):
    if importlib.util.find_spec("torchaudio") is not None:
        pytest.skip("all of ComfyUI's node files import here")
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "photo.png"}},
        "2": {"class_type": "EmptyAudio", "inputs": {}},
    }
    with pytest.raises(MissingNodeClassError, match="No module named 'torchaudio'"):
        run(runtime, graph, photo)
