"""What ComfyUI's ``main.py`` does at its start is done here as well."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from places import PROJECT

pytestmark = pytest.mark.slow

# Stands in for the GPU: comfy-aimdo's functions are recorded, with the state they were called in.
RECORD = """
import functools, json, os, sys, warnings
warnings.simplefilter("ignore")
import comfy_aimdo.control as control

calls = []

def record(name):
    real = getattr(control, name)

    @functools.wraps(real)
    def stand_in(*given, **named):
        given = [list(value) if hasattr(value, "__next__") else value for value in given]
        imported = [name in sys.modules for name in ("torch", "comfy.model_management")]
        calls.append([name, given, named, imported])
        return True

    setattr(control, name, stand_in)

for name in dir(control):
    if name.startswith(("init", "set_log")):
        record(name)
comfyui_dir, base_dir, *extra = sys.argv[1:]
"""
STOCK = """
sys.path.insert(0, comfyui_dir)
sys.argv = ["main.py", "--base-directory", base_dir, "--cpu", *extra]
import main
"""
OURS = """
from pathlib import Path
from comfyui_runtime.in_process.boot import boot
from comfyui_runtime.in_process.options import BootOptions
boot(BootOptions(Path(comfyui_dir), Path(base_dir), device="cpu", extra_args=tuple(extra)))
"""
REPORT = """
import comfy.model_patcher, comfy.memory_management
print(json.dumps({
    "calls": calls,
    "patcher": comfy.model_patcher.CoreModelPatcher.__name__,
    "enabled": comfy.memory_management.aimdo_enabled,
}))
"""
BOOT = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
comfyui_dir, base_dir, *extra = sys.argv[1:]
"""
LOOK = """
import importlib, folder_paths
print(json.dumps({
    "environment": dict(os.environ),
    "loras": folder_paths.get_folder_paths("loras"),
    "packs": folder_paths.get_folder_paths("custom_nodes"),
}))
"""


def output_of(script: str, *arguments: object) -> dict:
    environment = {k: v for k, v in os.environ.items() if "VISIBLE_DEVICES" not in k}
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=PROJECT,
        env={**environment, "PYTHONWARNINGS": "ignore"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize("options", [(), ("--reserve-vram", "1.5"), ("--verbose", "WARNING")])
def test_dynamic_vram_is_switched_on_as_main_does_it(comfyui_dir, tmp_path, options):
    if "comfy_aimdo" not in (comfyui_dir / "main.py").read_text():
        pytest.skip("this ComfyUI has no DynamicVRAM")
    pytest.importorskip("comfy_aimdo")
    (tmp_path / "custom_nodes").mkdir()
    given = (comfyui_dir, tmp_path, "--enable-dynamic-vram", *options)
    stock = output_of(RECORD + STOCK + REPORT, *given)
    assert stock["calls"][0][0] == "init"
    assert stock["patcher"] == "ModelPatcherDynamic"
    assert output_of(RECORD + OURS + REPORT, *given) == stock


def test_dynamic_vram_stays_off_where_nothing_asks_for_it(comfyui_dir, tmp_path):
    if "comfy_aimdo" not in (comfyui_dir / "main.py").read_text():
        pytest.skip("this ComfyUI has no DynamicVRAM")
    seen = output_of(RECORD + OURS + REPORT, comfyui_dir, tmp_path)
    assert seen == {"calls": [], "patcher": "ModelPatcher", "enabled": False}


@pytest.fixture
def extra_paths(tmp_path):
    path = tmp_path / "paths.yaml"
    path.write_text(f"volume:\n  base_path: {tmp_path}\n  loras: my_loras\n  custom_nodes: packs\n")
    return path


def test_options_that_main_handles_are_handled(comfyui_dir, tmp_path, extra_paths):
    seen = output_of(
        BOOT + OURS + LOOK,
        *(comfyui_dir, tmp_path / "base", "--cuda-device", "3", "--deterministic"),
        *("--extra-model-paths-config", extra_paths),
    )
    assert seen["environment"]["CUDA_VISIBLE_DEVICES"] == "3"
    assert seen["environment"]["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert seen["environment"]["DO_NOT_TRACK"] == "1"
    assert str(tmp_path / "my_loras") in seen["loras"]
    assert str(tmp_path / "packs") in seen["packs"]


def test_first_device_is_the_one_asked_for(comfyui_dir, tmp_path):
    seen = output_of(BOOT + OURS + LOOK, comfyui_dir, tmp_path, "--default-device", "2")
    assert seen["environment"]["CUDA_VISIBLE_DEVICES"].startswith("2,0,1,3,4,")


def test_extra_model_paths_beside_the_source_are_read(comfyui_dir, tmp_path, extra_paths):
    source = tmp_path / "ComfyUI"
    source.mkdir()
    for path in comfyui_dir.iterdir():
        if path.name not in {".git", "extra_model_paths.yaml"}:
            (source / path.name).symlink_to(path)
    (source / "extra_model_paths.yaml").write_bytes(extra_paths.read_bytes())
    seen = output_of(BOOT + OURS + LOOK, source, tmp_path / "base")
    assert str(tmp_path / "my_loras") in seen["loras"]


def test_packs_that_options_switch_off_are_not_loaded(comfyui_dir, tmp_path):
    packs = tmp_path / "custom_nodes"
    packs.mkdir()
    for name in ("wanted.py", "unwanted.py"):
        (packs / name).write_text(
            f"import os\nos.environ['SEEN_{name}'] = '1'\nNODE_CLASS_MAPPINGS = {{}}\n"
        )
    seen = output_of(
        BOOT + OURS + LOOK,
        *(comfyui_dir, tmp_path, "--disable-all-custom-nodes"),
        *("--whitelist-custom-nodes", "wanted.py"),
    )
    assert {name for name in seen["environment"] if name.startswith("SEEN_")} == {"SEEN_wanted.py"}
