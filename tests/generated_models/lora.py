"""The LoRA, in the naming of kohya's sd-scripts, for some layers of each network.

The real file covers every attention layer. Here a few of each network do, since ComfyUI keeps a
copy of every weight that it patches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from generated_models.fill import Constant, Noise
from generated_models.safetensors_stream import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from generated_models.sdxl import Shapes

_RANK = 32
_ALPHA = 16.0
_EFFECT = 1.0  # of the patch, relative to the weight it patches, at strength 1
_UNET_LAYERS = (
    "input_blocks.4.1.transformer_blocks.0.",
    "middle_block.1.transformer_blocks.0.",
    "output_blocks.5.1.transformer_blocks.0.",
)
_TEXT_LAYERS = ("text_model.encoder.layers.0.", "text_model.encoder.layers.9.")


def lora_tensors(unet: Shapes, clip_l: Shapes, clip_g: Shapes) -> list[Tensor]:
    """Return the LoRA's tensors, for a denoiser and text encoders of these shapes."""
    return [
        *_modules("lora_unet", unet, _UNET_LAYERS),
        *_modules("lora_te1", clip_l, _TEXT_LAYERS),
        *_modules("lora_te2", clip_g, _TEXT_LAYERS),
    ]


def _modules(prefix: str, shapes: Shapes, layers: tuple[str, ...]) -> Iterator[Tensor]:
    for weight, shape in shapes.items():
        if not weight.startswith(layers) or not weight.endswith(".weight") or len(shape) == 1:
            continue
        module = f"{prefix}_{weight.removesuffix('.weight').replace('.', '_')}"
        outputs, inputs = shape
        down, up = inputs**-0.5, _EFFECT * _RANK / _ALPHA / _RANK**0.5
        yield Tensor(f"{module}.alpha", (), Constant(_ALPHA))
        yield Tensor(f"{module}.lora_down.weight", (_RANK, inputs), Noise(down))
        yield Tensor(f"{module}.lora_up.weight", (outputs, _RANK), Noise(up))
