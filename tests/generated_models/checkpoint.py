"""The SDXL checkpoint: scales at which random weights stay finite and heed every input."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from generated_models.fill import Constant, Counting, Fill, Noise
from generated_models.safetensors_stream import Tensor

if TYPE_CHECKING:
    from generated_models.sdxl import Shapes

_VAE = "first_stage_model."
_BIAS_SCALE = 0.02
_EMBEDDING_SCALE = 0.02  # CLIP's own initialisation
_LATENT_GAIN = 7.0  # the spread of SDXL's real latents, so that the photo outweighs rounding
_IMAGE_GAIN = 0.4  # keeps the decoder's pixels inside -1…1
_LOGIT_SCALE = 4.6  # ln 100, where CLIP's training clamps it; drawing does not use it


def checkpoint_tensors(shapes: Shapes) -> list[Tensor]:
    """Give each of the checkpoint's tensors its numbers."""
    return [Tensor(name, shape, _fill(name, shape), _dtype(name)) for name, shape in shapes.items()]


def vae_tensors(shapes: Shapes) -> list[Tensor]:
    """Give each tensor of a VAE on its own its numbers, in the real file's float32."""
    return [
        Tensor(name, shape, _fill(f"{_VAE}{name}", shape), "float32")
        for name, shape in shapes.items()
    ]


def layer_fill(name: str, shape: tuple[int, ...], *, gain: float = 1.0, salt: str = "") -> Fill:
    """Return numbers for a layer: norms that do nothing, weights that keep the variance.

    Args:
        name: The tensor's name; it ends in ``weight`` or ``bias``.
        shape: Its shape; all but the first dimension are inputs.
        gain: Standard deviation of the layer's output for inputs of unit variance.
        salt: Tells apart tensors of the same name in different files.
    """
    if name.endswith("bias"):
        return Noise(_BIAS_SCALE, salt)
    if len(shape) == 1:
        return Constant(1.0)
    return Noise(gain / prod(shape[1:]) ** 0.5, salt)


def _fill(name: str, shape: tuple[int, ...]) -> Fill:
    if name.endswith("position_ids"):
        return Counting()
    if name.endswith("logit_scale"):
        return Constant(_LOGIT_SCALE)
    if "embedding" in name:
        return Noise(_EMBEDDING_SCALE)
    if name == f"{_VAE}quant_conv.weight":
        return layer_fill(name, shape, gain=_LATENT_GAIN)
    if name == f"{_VAE}decoder.conv_out.weight":
        return layer_fill(name, shape, gain=_IMAGE_GAIN)
    return layer_fill(name, shape)


def _dtype(name: str) -> str:
    return "int64" if name.endswith("position_ids") else "float16"
