"""A diffusion model small enough to write on the spot, of an architecture that ComfyUI loads.

Wan 2.1 is the one whose width and depth ComfyUI reads off the file. Tensor names and shapes are
those of the published models; the numbers mean nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import save_file

if TYPE_CHECKING:
    from pathlib import Path

_TEXT = 4096
_LATENT_CHANNELS = 16
_PATCH = (1, 2, 2)
_FREQUENCIES = 256
_HEAD = 128  # the width of one attention head: a model's width is a multiple of it


def write_tiny_model(path: Path, *, width: int = _HEAD, seed: int = 0) -> int:
    """Write a model of one layer in float16 and return its size in bytes.

    Args:
        width: A multiple of 128; the file grows by the square: 2 MB at 128, 60 MB at 1024.
        seed: Makes the numbers.
    """
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: (rng.standard_normal(shape, np.float32) * 0.02).astype(np.float16)
        for name, shape in _shapes(width).items()
    }
    save_file(tensors, path)
    return path.stat().st_size


def _shapes(width: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "blocks.0.modulation": (1, 6, width),
        "head.modulation": (1, 2, width),
    }

    def layer(name: str, *shape: int) -> None:
        shapes[f"{name}.weight"] = shape
        shapes[f"{name}.bias"] = shape[:1]

    patch = int(np.prod(_PATCH))
    layer("patch_embedding", width, _LATENT_CHANNELS, *_PATCH)
    layer("text_embedding.0", width, _TEXT)
    layer("text_embedding.2", width, width)
    layer("time_embedding.0", width, _FREQUENCIES)
    layer("time_embedding.2", width, width)
    layer("time_projection.1", 6 * width, width)
    layer("blocks.0.norm3", width)
    layer("blocks.0.ffn.0", 4 * width, width)
    layer("blocks.0.ffn.2", width, 4 * width)
    layer("head.head", patch * _LATENT_CHANNELS, width)
    for attention in ("blocks.0.self_attn", "blocks.0.cross_attn"):
        for projection in ("q", "k", "v", "o"):
            layer(f"{attention}.{projection}", width, width)
        for norm in ("norm_q", "norm_k"):
            shapes[f"{attention}.{norm}.weight"] = (width,)
    return shapes
