"""Writes the generated models: ``python -m generated_models MODELS_DIR --comfyui-dir DIR``."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from generated_models import files
from generated_models.checkpoint import checkpoint_tensors, layer_fill, vae_tensors
from generated_models.control_lora import control_lora_tensors
from generated_models.lora import lora_tensors
from generated_models.safetensors_stream import Tensor, write_safetensors
from generated_models.tagger import write_tagger, write_tags

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> None:
    """Write what is missing and say how long each file took."""
    parser = argparse.ArgumentParser(prog="generated_models", description=__doc__)
    parser.add_argument("models_dir", type=Path, help="ComfyUI's models folder")
    parser.add_argument("--comfyui-dir", type=Path, required=True, help="ComfyUI's source folder")
    parser.add_argument("--control-rank", type=int, default=256, help="the real files' is 256")
    options = parser.parse_args()
    sys.path.insert(0, str(options.comfyui_dir))
    for name, write in _writers(options.control_rank).items():
        path = options.models_dir / name
        if not path.is_file():
            started = time.monotonic()
            write(path)
            seconds = time.monotonic() - started
            print(f"{name}: {path.stat().st_size:,} bytes in {seconds:.1f} s", flush=True)  # noqa: T201


def _writers(control_rank: int) -> dict[str, Callable[[Path], None]]:
    return {
        files.CHECKPOINT: _write_checkpoint,
        files.LORA: _write_lora,
        files.CANNY_CONTROL: lambda path: _write_control_lora(path, control_rank, "canny"),
        files.DEPTH_CONTROL: lambda path: _write_control_lora(path, control_rank, "depth"),
        files.DEPTH_UNET: _write_depth_unet,
        files.DEPTH_VAE: _write_depth_vae,
        files.TAGGER_TAGS: write_tags,
        files.TAGGER: write_tagger,
    }


def _write_checkpoint(path: Path) -> None:
    write_safetensors(path, checkpoint_tensors(_sdxl().checkpoint_shapes()))


def _write_lora(path: Path) -> None:
    sdxl = _sdxl()
    write_safetensors(path, lora_tensors(sdxl.unet_shapes(), *sdxl.text_encoder_shapes()))


def _write_control_lora(path: Path, rank: int, kind: str) -> None:
    write_safetensors(path, control_lora_tensors(_sdxl().control_shapes(), rank, kind))


def _write_depth_unet(path: Path) -> None:
    shapes = _with_comfyui("lotus").depth_shapes()
    tensors = [Tensor(name, shape, layer_fill(name, shape)) for name, shape in shapes.items()]
    write_safetensors(path, tensors)


def _write_depth_vae(path: Path) -> None:
    write_safetensors(path, vae_tensors(_sdxl().vae_shapes()))


def _sdxl():
    return _with_comfyui("sdxl")


def _with_comfyui(module: str):
    importlib.import_module("comfy.cli_args").args.cpu = True
    return importlib.import_module(f"generated_models.{module}")


main()
