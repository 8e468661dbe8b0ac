"""Node packs find what a stock start of ComfyUI gives them, in a lazy start and in an eager one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from places import PROJECT, TESTS

pytestmark = pytest.mark.slow

PACKS = TESTS / "contract_packs"

START = """
import importlib, json, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from comfyui_runtime.errors import ServiceError
from comfyui_runtime.in_process.boot import boot
from comfyui_runtime.in_process.options import BootOptions
from comfyui_runtime.run.cancellation import Cancellation
from comfyui_runtime.run.outputs import ImageOutput
from comfyui_runtime.workflow.graph import parse_graph
from comfyui_runtime.workflow.patch import PatchedGraph

comfyui_dir, base, volume = map(Path, sys.argv[1:4])
options = BootOptions(
    comfyui_dir, base, node_dirs=(volume, volume / "none"), device="cpu", lazy=sys.argv[4] == "lazy"
)
runtime, report = boot(options)
"""

RUN_GRAPHS = """
def outcome(graph):
    try:
        result = runtime.run(PatchedGraph(parse_graph(graph), {}), Cancellation(60))
    except ServiceError as error:
        return {"code": error.code, "message": error.message}
    pictures = [output.image for output in result.outputs if isinstance(output, ImageOutput)]
    pixels = [int(picture.pixels[0, 0, 0]) for picture in pictures]
    return {"pixels": pixels, "warnings": list(result.warnings)}

server = importlib.import_module("server").PromptServer.instance
queue = server.prompt_queue
outcomes = {name: outcome(graph) for name, graph in json.loads(sys.stdin.read()).items()}
parts = next(module for name, module in sys.modules.items() if name.endswith("in_parts"))
nodes = importlib.import_module("nodes")
print(json.dumps({
    "packs": {pack.name: pack.error for pack in report.node_packs},
    "outcomes": outcomes,
    "parts": parts.done,
    "still_shown": [len(queue.currently_running), len(queue.queue), len(queue.history)],
    "routes": [route.path for route in server.routes if "asks_first" in route.path],
    "loop_runs": server.loop.is_running(),
    "same_name": nodes.NODE_CLASS_MAPPINGS["SameName"].CATEGORY,
    "core_class": nodes.NODE_CLASS_MAPPINGS["EmptyImage"].__module__,
    "cast_to_is_comfyuis": importlib.import_module("comfy.model_management").cast_to is not None,
    "comfy_on_path": str(comfyui_dir / "comfy") in sys.path,
    "replaces": hasattr(server, "node_replace_manager"),
}))
"""

IMAGE = {
    "class_type": "EmptyImage",
    "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0},
}


def shown(class_type: str, **inputs: object) -> dict:
    return {
        "1": {"class_type": class_type, "inputs": inputs},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    }


def pictured(*nodes: dict) -> dict:
    """A chain of nodes, each of which takes the picture of the one before it."""
    graph = {str(number): dict(node) for number, node in enumerate(nodes, 1)}
    last = [str(len(nodes)), 0]
    return {
        **graph,
        "9": {"class_type": "SaveImage", "inputs": {"images": last, "filename_prefix": "x"}},
    }


GRAPHS = {
    "handler": shown("Shouted", said="hello", loud="old"),
    "handler_fills": shown("Shouted", said="hello"),
    "old_check": shown("OldCheck", choice="a choice of the front end's"),
    "old_check_refuses": shown("OldCheck", choice="bad"),
    "new_check": shown("NewCheck", choice="a choice of the front end's"),
    "new_check_refuses": shown("NewCheck", choice="bad"),
    "new_check_inherited": shown("NewChoice", choice="a choice of the front end's"),
    "volume": pictured(IMAGE, {"class_type": "OfTheVolume", "inputs": {"image": ["1", 0]}}),
    "enters": pictured(IMAGE, {"class_type": "EntersByName", "inputs": {"image": ["1", 0]}}),
    "parts": pictured({"class_type": "InParts", "inputs": {}}),
    "parts_again": pictured({"class_type": "InParts", "inputs": {}}),
    "default": shown("SaysNothing"),
    "no_default": shown("NeedsValue"),
    "older_export": pictured(
        IMAGE,
        {
            "class_type": "ImageScaleToTotalPixels",
            "inputs": {"image": ["1", 0], "upscale_method": "area", "megapixels": 0.01},
        },
    ),
    "values": pictured(IMAGE | {"inputs": {**IMAGE["inputs"], "width": "8"}}),
    "replaced": shown("ConditioningAverage ", conditioning_to_strength=1.0),
}


@pytest.fixture(scope="module", params=["lazy", "eager"])
def seen(request, comfyui_dir, tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp(request.param)
    shutil.copytree(PACKS, folder, dirs_exist_ok=True)
    volume = folder / "volume" / "custom_nodes"
    arguments = (comfyui_dir, folder / "base", volume, request.param)
    if request.param == "lazy":
        # The first start is eager, and makes the index by which the next one is lazy.
        run(START, *arguments)
    return json.loads(run(START + RUN_GRAPHS, *arguments).strip().splitlines()[-1])


def run(script: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        input=json.dumps(GRAPHS),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=PROJECT,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_on_prompt_handlers_run_before_validation_and_one_that_fails_stops_none(seen):
    assert seen["outcomes"]["handler"] == {"pixels": [], "warnings": []}
    assert seen["outcomes"]["handler_fills"] == {"pixels": [], "warnings": []}


def test_server_has_the_packs_routes_and_a_loop_that_runs(seen):
    assert seen["routes"] == ["/asks_first"]
    assert seen["loop_runs"]


@pytest.mark.parametrize("graph", ["old_check", "new_check", "new_check_inherited"])
def test_class_that_checks_its_choices_itself_takes_others(seen, graph):
    assert seen["outcomes"][graph] == {"pixels": [], "warnings": []}


@pytest.mark.parametrize("graph", ["old_check_refuses", "new_check_refuses"])
def test_class_that_checks_its_choices_itself_may_refuse(seen, graph):
    assert seen["outcomes"][graph]["code"] == "invalid_graph"
    assert "bad is not good" in seen["outcomes"][graph]["message"]


def test_pack_in_a_further_folder_is_loaded(seen):
    assert seen["packs"]["of_the_volume.py"] is None
    assert seen["outcomes"]["volume"]["pixels"] == [255]


def test_node_that_queues_its_graph_again_has_every_part_run_in_its_job(seen):
    assert seen["outcomes"]["parts"]["pixels"] == [0, 85, 170]
    assert seen["outcomes"]["parts_again"]["pixels"] == [0, 85, 170]


def test_queue_shows_each_prompt_under_a_number_of_its_own_and_is_empty_after_the_job(seen):
    numbers = [number for number, _ in seen["parts"]]
    assert len(set(numbers)) == len(numbers) == 6
    assert [part for _, part in seen["parts"]] == [0, 1, 2, 0, 1, 2]
    assert seen["still_shown"] == [0, 0, 0]


def test_modules_that_a_stock_start_has_imported_are_there_unimported(seen):
    assert seen["packs"]["leans.py"] is None
    assert seen["comfy_on_path"]


def test_node_file_can_be_imported_first_by_a_pack_whatever_imports_it_in_turn(seen):
    assert seen["packs"]["enters_by_name.py"] is None
    assert seen["outcomes"]["enters"]["pixels"] == [0]


def test_what_packs_may_not_exchange_is_put_back(seen):
    assert seen["cast_to_is_comfyuis"]


def test_last_pack_wins_a_name_and_none_takes_one_of_comfyuis(seen):
    assert seen["same_name"] == "b"
    assert seen["core_class"] == "nodes" or "comfy_extras" in seen["core_class"]


def test_failure_without_a_text_names_its_type(seen):
    assert seen["packs"]["says_nothing_at_import.py"].endswith(": AssertionError")
    assert seen["outcomes"]["default"]["message"].endswith(" failed: LookupError")


def test_packages_that_a_pack_lacks_are_named(seen):
    reason = seen["packs"]["lacks_packages"]
    assert 'the package "not_on_this_machine", listed as "not-on-this-machine>=2"' in reason
    assert "not installed: not-on-this-machine>=2, another-that-is-missing. " in reason
    assert reason.endswith("pip install -r lacks_packages/requirements.txt.")


def test_missing_input_without_a_declared_default_is_refused(seen):
    assert seen["outcomes"]["no_default"] == {
        "code": "invalid_graph",
        "message": 'ComfyUI refuses node 1 (NeedsValue), input "value": Required input is '
        "missing: value.",
    }


def test_graph_of_an_older_release_takes_the_declared_default_and_warns(seen, comfyui_dir):
    outcome = seen["outcomes"]["older_export"]
    assert len(outcome["pixels"]) == 1
    source = (comfyui_dir / "comfy_extras" / "nodes_post_processing.py").read_text()
    if "resolution_steps" not in source:
        assert outcome["warnings"] == []
    else:
        [warning] = outcome["warnings"]
        assert warning.startswith(
            'Node 2 (ImageScaleToTotalPixels) has no input "resolution_steps"'
        )
        assert "the declared default, 1." in warning


def test_values_become_what_their_inputs_declare(seen):
    assert seen["outcomes"]["values"]["pixels"] == [0]


def test_class_that_a_newer_one_replaces_is_exchanged_where_the_release_does_so(seen):
    outcome = seen["outcomes"]["replaced"]
    assert outcome["code"] == ("invalid_graph" if seen["replaces"] else "missing_node_class")
