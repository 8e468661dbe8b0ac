"""Models stay from graph to graph; pictures do not."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch
from runtime_support import assert_next_job_runs, run

from bench.held import held
from bench.tiny_model import write_tiny_model
from comfyui_runtime.errors import OutOfMemoryError
from comfyui_runtime.in_process import comfy
from comfyui_runtime.in_process.comfy.model_outputs import loaded_models
from comfyui_runtime.in_process.runtime import InProcessRuntime
from comfyui_runtime.run.runtime import LoadedModels
from comfyui_runtime.workflow.graph import parse_graph
from comfyui_runtime.workflow.images import PixelImage
from comfyui_runtime.workflow.patch import PatchedGraph

_FILES = ("one.safetensors", "two.safetensors", "three.safetensors")
_PLENTY = 2**50
_HEADROOM = 1000


@pytest.fixture(scope="module")
def sizes(booted):
    """The sizes of the model files, which are there while this module's tests run."""
    folder = booted.base_dir / "models" / "diffusion_models"
    paths = [folder / name for name in _FILES]
    yield [write_tiny_model(path, seed=seed) for seed, path in enumerate(paths)]
    for path in paths:
        path.unlink()


class Ram:
    """As much memory as a test wants."""

    def __init__(self) -> None:
        self.total = _PLENTY
        self.used = lambda: 0

    def __call__(self) -> int:
        return self.total - self.used()


@pytest.fixture
def ram() -> Ram:
    return Ram()


@pytest.fixture
def make_runtime(booted, sizes, ram, photo):
    """Makes a runtime whose executor has kept nothing yet; the session's goes on afterwards."""
    made = []

    def make(*, cache_lru: int = 0, keep: bool = True) -> InProcessRuntime:
        memory = comfy.Memory(ram, _HEADROOM) if keep else None
        server = booted.runtime._server
        executor = comfy.make_executor(server, cache_lru, memory)
        made.append(InProcessRuntime(server, executor, booted.runtime._scratch, stop_grace=5.0))
        return made[-1]

    yield make
    for runtime in made:
        runtime.close()
    comfy.install_progress_hook(booted.runtime._on_step)
    booted.runtime._server.sink = booted.runtime._on_event
    assert_next_job_runs(booted.runtime, photo)


def graph(photo, file: str, **more: dict) -> PatchedGraph:
    """A model file and a picture into a node that gives the picture."""
    nodes = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "photo.png"}},
        file: {
            "class_type": "UNETLoader",
            "inputs": {"unet_name": file, "weight_dtype": "default"},
        },
        "2": {"class_type": "TestUseModel", "inputs": {"image": ["1", 0], "model": [file, 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0]}},
        **more,
    }
    return PatchedGraph(parse_graph(nodes), {"1": photo})


def shifted(photo, file: str, shift: float) -> PatchedGraph:
    """The same with a node between that patches the model."""
    return graph(
        photo,
        file,
        **{
            "shift": {
                "class_type": "ModelSamplingSD3",
                "inputs": {"model": [file, 0], "shift": shift},
            },
            "2": {
                "class_type": "TestUseModel",
                "inputs": {"image": ["1", 0], "model": ["shift", 0]},
            },
        },
    )


@pytest.mark.parametrize("cache_lru", [0, 2])
def test_models_of_workflows_in_turn_are_loaded_once(make_runtime, photo, sizes, cache_lru):
    runtime = make_runtime(cache_lru=cache_lru)
    for file in _FILES:
        assert file not in run(runtime, graph(photo, file)).cached_nodes
    for file in _FILES * 2:
        assert file in run(runtime, graph(photo, file)).cached_nodes
    assert runtime.loaded_models.count == len(_FILES)
    assert runtime.loaded_models.device_bytes == 0
    # The same numbers in the same type or in a wider one.
    weights = sum(sizes)
    assert 0.9 * weights < runtime.loaded_models.ram_bytes < 2.1 * weights


def test_models_are_loaded_again_where_keeping_them_is_turned_off(make_runtime, photo):
    runtime = make_runtime(keep=False)
    for file in _FILES[:2] * 2:
        assert file not in run(runtime, graph(photo, file)).cached_nodes
    assert runtime.loaded_models.count == 0


def test_only_models_are_kept_of_earlier_graphs(make_runtime, photo):
    runtime = make_runtime()
    run(runtime, graph(photo, _FILES[0]))
    run(runtime, graph(photo, _FILES[1]))
    assert run(runtime, graph(photo, _FILES[0])).cached_nodes == ("1", _FILES[0])


def test_least_recently_used_model_goes_when_memory_runs_short(make_runtime, photo, sizes, ram):
    runtime = make_runtime()
    one, two, three = _FILES
    for file in (one, two, one):
        run(runtime, graph(photo, file))
    # The third file and the headroom lack one byte beside the two others.
    ram.total = runtime.loaded_models.ram_bytes + sizes[2] + _HEADROOM - 1
    ram.used = lambda: runtime._executor.loaded_models.ram_bytes
    run(runtime, graph(photo, three))
    ram.total = _PLENTY
    assert one in run(runtime, graph(photo, one)).cached_nodes
    assert two not in run(runtime, graph(photo, two)).cached_nodes


def test_model_in_use_stays_however_short_memory_is(make_runtime, photo, ram):
    runtime = make_runtime()
    run(runtime, graph(photo, _FILES[0]))
    run(runtime, graph(photo, _FILES[1]))
    ram.total = 0
    assert _FILES[0] in run(runtime, graph(photo, _FILES[0])).cached_nodes
    run(runtime, graph(photo, _FILES[2]))
    assert runtime.loaded_models.count == 1


def test_patched_models_are_kept_too_but_not_in_every_strength(make_runtime, photo):
    runtime = make_runtime()
    for step in range(10):
        run(runtime, shifted(photo, _FILES[0], 1.0 + step))
        run(runtime, graph(photo, _FILES[1]))
    assert runtime.loaded_models.count == 2  # patched ones share their weights
    assert len(runtime._executor._kept._kept) == 2 + 4
    last = run(runtime, shifted(photo, _FILES[0], 10.0))
    assert {"shift", _FILES[0]} <= set(last.cached_nodes)


def test_model_that_a_picture_went_into_goes_with_its_graph(make_runtime, photo):
    runtime = make_runtime()
    more = {
        "mix": {
            "class_type": "TestModelOfPicture",
            "inputs": {"image": ["1", 0], "model": [_FILES[0], 0]},
        },
        "2": {"class_type": "TestUseModel", "inputs": {"image": ["1", 0], "model": ["mix", 0]}},
    }
    run(runtime, graph(photo, _FILES[0], **more))
    run(runtime, graph(photo, _FILES[1]))
    again = run(runtime, graph(photo, _FILES[0], **more))
    assert _FILES[0] in again.cached_nodes
    assert "mix" not in again.cached_nodes


def test_model_of_an_expanded_node_is_kept(make_runtime, photo, monkeypatch):
    import comfy.sd

    loaded = []
    load = comfy.sd.load_diffusion_model
    monkeypatch.setattr(
        comfy.sd,
        "load_diffusion_model",
        lambda path, **options: (loaded.append(path), load(path, **options))[1],
    )
    runtime = make_runtime()
    graphs = [
        {
            "1": {"class_type": "LoadImage", "inputs": {"image": "photo.png"}},
            "2": {
                "class_type": "TestExpandToLoader",
                "inputs": {"image": ["1", 0], "unet_name": file},
            },
            "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0]}},
        }
        for file in _FILES[:2]
    ]
    for nodes in graphs * 3:
        run(runtime, PatchedGraph(parse_graph(nodes), {"1": photo}))
    assert len(loaded) == 2


def test_tensors_that_a_loader_read_from_a_model_file_are_kept(make_runtime, photo):
    runtime = make_runtime()
    nodes = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "photo.png"}},
        "state": {"class_type": "TestLoadState", "inputs": {"file": _FILES[0]}},
        "2": {"class_type": "TestUseState", "inputs": {"image": ["1", 0], "state": ["state", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0]}},
    }
    patched = PatchedGraph(parse_graph(nodes), {"1": photo})
    run(runtime, patched)
    run(runtime, graph(photo, _FILES[1]))
    assert "state" in run(runtime, patched).cached_nodes


def test_nothing_is_kept_after_the_machine_ran_out_of_memory(make_runtime, photo):
    runtime = make_runtime()
    run(runtime, graph(photo, _FILES[0]))
    more = {
        "fail": {"class_type": "TestRaise", "inputs": {"image": ["2", 0], "kind": "MemoryError"}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["fail", 0]}},
    }
    with pytest.raises(OutOfMemoryError):
        run(runtime, graph(photo, _FILES[1], **more))
    assert runtime.loaded_models.count == 0
    assert _FILES[0] not in run(runtime, graph(photo, _FILES[0])).cached_nodes


class Patcher:
    """What ComfyUI's ModelPatcher tells of a model of 100 bytes."""

    def __init__(self, device: str, loaded: int, weights: object) -> None:
        self.load_device = torch.device(device)
        self.model = weights
        self._loaded = loaded

    def model_size(self) -> int:
        return 100

    def loaded_size(self) -> int:
        return self._loaded


def test_weights_on_the_device_are_told_from_those_in_memory():
    shared = object()
    models = [
        Patcher("cuda", 100, shared),
        Patcher("cuda", 100, shared),  # with other patches
        Patcher("cuda", 30, object()),
        Patcher("cpu", 100, object()),
    ]
    assert loaded_models(models) == LoadedModels(count=3, ram_bytes=170, device_bytes=130)


def test_module_counts_by_its_tensors():
    module = torch.nn.Linear(2, 3, dtype=torch.float32)
    assert loaded_models([module]) == LoadedModels(count=1, ram_bytes=4 * (2 * 3 + 3))


@pytest.mark.slow
def test_memory_is_flat_over_jobs_of_three_workflows_in_turn(make_runtime):
    runtime = make_runtime()
    rng = np.random.default_rng()

    def run_jobs(numbers: range) -> int:
        for number in numbers:
            picture = PixelImage(rng.integers(0, 256, (512, 512, 3), dtype=np.uint8))
            run(runtime, shifted(picture, _FILES[number % 3], 1.0 + number / 10))
        gc.collect()
        return held().memory

    first, last = run_jobs(range(60)), run_jobs(range(60, 240))
    # A picture's pixels take 3 MB as the floats of a node's output: 180 of them would be 540 MB.
    assert last - first < 20e6
    assert runtime.loaded_models.count == 3
