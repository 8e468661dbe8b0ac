from __future__ import annotations

from pathlib import Path

import pytest

from comfyui_runtime.in_process.comfy import command_line
from comfyui_runtime.in_process.options import BootOptions

WEB = Path("/web")
OPTIONS = ("--cpu", "--highvram", "--normalvram", "--lowvram", "--novram", "--disable-api-nodes")


@pytest.fixture
def release(tmp_path):
    """Make a ComfyUI whose parser knows these options beside those that every release knows."""

    def make(*options: str) -> Path:
        (tmp_path / "comfy").mkdir(exist_ok=True)
        declared = "".join(f"group.add_argument({option!r}, help='x')\n" for option in options)
        (tmp_path / "comfy" / "cli_args.py").write_text(f"raise ImportError\n{declared}")
        return tmp_path

    return make


@pytest.fixture
def argv(release):
    comfyui_dir = release(*OPTIONS)

    def make(**fields) -> list[str]:
        return command_line(BootOptions(comfyui_dir, Path("/base"), **fields), WEB)

    return make


def value_of(option: str, arguments: list[str]) -> str:
    assert arguments.count(option) == 1
    return arguments[arguments.index(option) + 1]


def test_nothing_more_is_asked_for_on_a_gpu_by_default(argv):
    assert argv() == [
        "--base-directory",
        "/base",
        "--front-end-root",
        "/web",
        "--database-url",
        "sqlite:///:memory:",
        "--disable-metadata",
        "--preview-method",
        "none",
        "--disable-api-nodes",
    ]


@pytest.mark.parametrize(
    ("mode", "flags"),
    [
        ("auto", set()),
        ("high", {"--highvram"}),
        ("normal", {"--normalvram"}),
        ("low", {"--lowvram"}),
        ("none", {"--novram"}),
    ],
)
def test_vram_mode_becomes_comfyuis_flag(argv, mode, flags):
    assert {option for option in argv(vram_mode=mode) if option.endswith("vram")} == flags


def test_cpu_is_asked_for_where_no_gpu_is_wanted(argv):
    assert "--cpu" in argv(device="cpu")
    assert "--cpu" not in argv(device="cuda")


def test_cache_by_number_of_nodes_is_chosen_by_a_number(argv):
    assert value_of("--cache-lru", argv(cache_lru=20)) == "20"
    assert "--cache-lru" not in argv(cache_lru=0)


def test_previews_and_api_nodes_are_on_where_asked_for(argv):
    arguments = argv(previews=True, api_nodes=True)
    assert value_of("--preview-method", arguments) == "latent2rgb"
    assert "--disable-api-nodes" not in arguments


def test_further_arguments_come_last_so_that_they_win(argv):
    assert argv(extra_args=("--preview-method", "taesd"))[-2:] == ["--preview-method", "taesd"]


def test_options_of_other_releases_are_left_out(release):
    newer = release("--cpu", "--disable-partner-nodes", "--disable-assets-autoscan")
    options = BootOptions(newer, Path("/base"), device="cpu", vram_mode="normal")
    arguments = command_line(options, WEB)
    assert arguments[-3:] == ["--disable-partner-nodes", "--disable-assets-autoscan", "--cpu"]
