from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from places import PROJECT

from comfyui_runtime.errors import BootError
from comfyui_runtime.in_process.boot import boot
from comfyui_runtime.in_process.comfy import read_source
from comfyui_runtime.in_process.options import BootOptions

BOOT_ALONE = """
import sys
from pathlib import Path
from comfyui_runtime.in_process.boot import boot
from comfyui_runtime.errors import ServiceError
from comfyui_runtime.in_process.options import BootOptions
comfyui_dir, base_dir, device, *extra = sys.argv[1:]
try:
    boot(BootOptions(Path(comfyui_dir), Path(base_dir), device=device, extra_args=tuple(extra)))
except ServiceError as error:
    sys.exit(f"{error.code}: {error.message}")
"""

BOOT_WITH_VOLUME = """
import sys
from pathlib import Path
from comfyui_runtime.in_process import comfy
from comfyui_runtime.in_process.boot import boot
from comfyui_runtime.in_process.options import BootOptions
comfyui_dir, base_dir, volume = map(Path, sys.argv[1:])
boot(BootOptions(comfyui_dir, base_dir, model_dirs=(volume,), device="cpu"))
"""
REGISTERS_A_KIND = """
import os, folder_paths
NODE_CLASS_MAPPINGS = {}
folder_paths.add_model_folder_path("special", os.path.join(folder_paths.models_dir, "special"))
"""


def boot_alone(comfyui_dir: Path, base_dir: Path, device: str, *extra: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", BOOT_ALONE, str(comfyui_dir), str(base_dir), device, *extra],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=PROJECT,
    )
    assert done.returncode == 1
    return done.stderr.strip().splitlines()[-1]


def test_boot_leaves_the_callers_process_state_as_it_was(booted):
    assert booted.after == booted.before


def test_boot_opens_no_port(booted):
    assert booted.after.listening == booted.before.listening


def test_report_times_each_phase_and_counts_the_node_classes(booted, comfyui_dir):
    assert list(booted.report.phases) == [
        "options",
        "torch",
        "execution",
        "core_nodes",
        "node_packs",
    ]
    assert all(seconds >= 0 for seconds in booted.report.phases.values())
    assert booted.report.node_class_count > 300
    assert booted.report.comfyui_version == read_source(comfyui_dir).version
    assert booted.report.device == "cpu"


def test_report_names_the_pack_that_failed_and_why(booted):
    packs = {pack.name: pack.error for pack in booted.report.node_packs}
    assert packs["test_nodes"] is None
    assert "broken_pack needs something that is not installed" in packs["broken_pack"]


def test_second_boot_in_one_process_is_refused(booted, comfyui_dir):
    with pytest.raises(BootError, match="only once"):
        boot(BootOptions(comfyui_dir, booted.base_dir, device="cpu"))


@pytest.mark.slow
def test_without_a_gpu_boot_stops_with_one_clear_line(comfyui_dir, tmp_path):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    line = boot_alone(comfyui_dir, tmp_path, "cuda")
    assert line.startswith("no_gpu: No CUDA GPU is visible to this worker.")
    assert "COMFYUI_DEVICE=cpu" in line


def test_unknown_comfyui_option_is_refused_with_the_parsers_words(comfyui_dir, tmp_path):
    line = boot_alone(comfyui_dir, tmp_path, "cpu", "--no-such-option")
    assert "boot_failed" in line
    assert "--no-such-option" in line


def test_option_that_a_release_does_not_know_is_named_with_one_that_it_knows(comfyui_dir, tmp_path):
    line = boot_alone(comfyui_dir, tmp_path, "cpu", "--lowvramm")
    assert line.startswith("boot_failed: ComfyUI refuses its options: ")
    assert "This release does not know --lowvramm: take it out of COMFYUI_ARGS." in line
    assert line.endswith("It knows --lowvram.")


def test_options_that_exclude_each_other_are_refused_in_a_sentence(comfyui_dir, tmp_path):
    line = boot_alone(comfyui_dir, tmp_path, "cpu", "--lowvram")
    assert line.startswith("boot_failed: ComfyUI refuses its options: ")
    assert "not allowed with argument" in line
    assert "COMFYUI_VRAM_MODE do not exclude each other" in line


def test_option_that_only_prints_is_refused(comfyui_dir, tmp_path):
    line = boot_alone(comfyui_dir, tmp_path, "cpu", "--help")
    assert line.startswith("boot_failed: COMFYUI_ARGS has an option that prints and ends")


@pytest.mark.slow
def test_file_of_extra_model_paths_that_cannot_be_used_is_named(comfyui_dir, tmp_path):
    paths = tmp_path / "paths.yaml"
    paths.write_text("- a list\n")
    line = boot_alone(comfyui_dir, tmp_path, "cpu", "--extra-model-paths-config", str(paths))
    assert line.startswith(f"boot_failed: The file of extra model paths, {paths}, cannot be used")


def test_missing_comfyui_says_how_to_install_it(tmp_path):
    line = boot_alone(tmp_path / "nowhere", tmp_path, "cpu")
    assert "Run ./provision.sh" in line


def test_an_older_comfyui_than_works_is_refused(tmp_path):
    (tmp_path / "comfyui_version.py").write_text('__version__ = "0.3.67"\n')
    message = boot_alone(tmp_path, tmp_path / "base", "cpu")
    assert "holds ComfyUI 0.3.67; this worker needs 0.3.68 or newer" in message


@pytest.mark.slow
def test_kinds_of_models_that_a_pack_registers_are_looked_for_in_the_further_folders(
    comfyui_dir, tmp_path
):
    pack = tmp_path / "base" / "custom_nodes" / "pack"
    pack.mkdir(parents=True)
    (pack / "__init__.py").write_text(REGISTERS_A_KIND)
    model = tmp_path / "volume" / "special" / "a.bin"
    model.parent.mkdir(parents=True)
    model.touch()
    script = f"{BOOT_WITH_VOLUME}\nprint(comfy.model_path('special', 'a.bin'))"
    command = [sys.executable, "-c", script, comfyui_dir, tmp_path / "base", tmp_path / "volume"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, cwd=PROJECT
    )
    assert done.stdout.strip() == str(model), done.stderr
