from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

from comfyui_runtime.workflow.manifest import load_workflow
from handler.commands.install_check import _node_classes, check_installation
from handler.settings import load_settings

MANIFEST = """
title = "Needs a model"
description = "For tests."
version = "1"

[[models]]
folder = "checkpoints"
file = "needed.safetensors"
tensors = { "a.weight" = [2, 3] }

[[models]]
folder = "loras"
file = "extra.safetensors"
optional = true
"""


@pytest.fixture
def settings(tmp_path, comfyui_dir):
    folder = tmp_path / "workflows" / "needy"
    folder.mkdir(parents=True)
    (folder / "manifest.toml").write_text(MANIFEST)
    (folder / "graph.json").write_text('{"1": {"class_type": "SaveImage", "inputs": {}}}')
    return load_settings(
        device="cpu",
        comfyui_dir=comfyui_dir,
        comfyui_base_dir=tmp_path / "base",
        model_dirs=(tmp_path / "volume",),
        workflows_dir=tmp_path / "workflows",
    )


def findings(settings, **options):
    options = {"only": None, "quick": True} | options
    return {finding.subject: finding for finding in check_installation(settings, **options)}


def put_model(folder, shape=(2, 3)):
    (folder / "checkpoints").mkdir(parents=True)
    tensors = {"a.weight": np.zeros(shape, dtype=np.float32)}
    save_file(tensors, folder / "checkpoints" / "needed.safetensors")


def test_missing_model_is_fatal_and_says_where_it_was_looked_for(settings, tmp_path):
    found = findings(settings)
    needed = found["needy: model checkpoints/needed.safetensors"]
    assert needed.fatal
    assert str(tmp_path / "base" / "models" / "checkpoints") in needed.problem
    assert str(tmp_path / "volume" / "checkpoints") in needed.problem
    assert "./provision.sh" in needed.problem


def test_missing_optional_model_is_a_warning(settings):
    extra = findings(settings)["needy: model loras/extra.safetensors"]
    assert extra.problem is not None
    assert not extra.fatal


@pytest.mark.parametrize("place", ["base/models", "volume"])
def test_model_in_the_models_folder_or_on_the_volume_is_fine(settings, tmp_path, place):
    put_model(tmp_path / place)
    assert findings(settings)["needy: model checkpoints/needed.safetensors"].problem is None


def test_model_of_another_architecture_is_found(settings, tmp_path):
    put_model(tmp_path / "volume", shape=(4, 4))
    problem = findings(settings)["needy: model checkpoints/needed.safetensors"].problem
    assert "another architecture" in problem


def test_truncated_model_is_found(settings, tmp_path):
    put_model(tmp_path / "volume")
    path = tmp_path / "volume" / "checkpoints" / "needed.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    problem = findings(settings)["needy: model checkpoints/needed.safetensors"].problem
    assert "where its header says" in problem


def test_broken_workflow_is_found(settings, tmp_path):
    (tmp_path / "workflows" / "needy" / "graph.json").write_text("{}")
    assert "no nodes" in findings(settings)["workflow needy"].problem


def test_missing_comfyui_is_found(settings, tmp_path):
    nowhere = settings.model_copy(update={"comfyui_dir": tmp_path / "nowhere"})
    problem = findings(nowhere)[f"ComfyUI in {tmp_path / 'nowhere'}"].problem
    assert "Run ./provision.sh" in problem


def test_second_boot_in_a_process_is_reported_and_not_raised(settings, booted):
    found = findings(settings, quick=False)
    assert "only once" in found["ComfyUI starts on cpu"].problem


@pytest.mark.parametrize(
    ("installed", "problem", "fatal"),
    [
        ({"LoadImage", "SaveImage", "Optional"}, None, True),
        ({"LoadImage", "SaveImage"}, "some parameters need Optional (of the-pack)", False),
        ({"LoadImage"}, "missing SaveImage", True),
    ],
)
def test_node_class_that_only_some_parameters_need_is_a_warning(
    tmp_path, installed, problem, fatal
):
    folder = tmp_path / "workflows" / "optional"
    folder.mkdir(parents=True)
    (folder / "graph.json").write_text(
        '{"1": {"class_type": "LoadImage", "inputs": {"image": "x"}},'
        ' "2": {"class_type": "Optional", "inputs": {"image": ["1", 0], "strength": 0}},'
        ' "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0]}}}'
    )
    (folder / "manifest.toml").write_text("""
title = "Optional"
description = "For tests."
version = "1"
[images.image]
node = "1"
description = "A photo."
[parameters.strength]
type = "integer"
description = "Needs the pack unless it is 0."
default = 0
minimum = 0
maximum = 1
patches = ["2.strength"]
[[branches]]
off_when = { strength = 0 }
bypass = { "2" = { 0 = "image" } }
[node_packs]
Optional = "the-pack"
""")
    workflow = load_workflow(tmp_path / "workflows", "optional")
    (finding,) = _node_classes(workflow, frozenset(installed))
    assert finding.problem is None if problem is None else problem in finding.problem
    assert finding.fatal is fatal
