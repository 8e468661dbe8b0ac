"""Control LoRAs, in the naming of Stability AI's: a ControlNet as a difference to the denoiser.

Layers that the denoiser has too are stored as ``<layer>.down`` and ``<layer>.up``, the
ControlNet's own layers, norms and biases as they are, beside an empty ``lora_controlnet`` by which
ComfyUI knows the kind. At rank 256 the bytes come to the real files' 774 MB.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from generated_models.checkpoint import layer_fill
from generated_models.fill import Constant, Noise
from generated_models.safetensors_stream import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from generated_models.sdxl import Shapes

_OWN_LAYERS = ("input_hint_block.", "zero_convs.", "middle_block_out.")
_HINT_GAIN = 2.0  # makes up for the SiLU after each layer, so that the hint is not lost
_EFFECT = 0.3  # of the difference, relative to the denoiser's weight


def control_lora_tensors(shapes: Shapes, rank: int, kind: str) -> list[Tensor]:
    """Return a control LoRA's tensors.

    Args:
        shapes: The whole ControlNet's.
        rank: Of the differences; less where a layer is smaller.
        kind: Such as "canny"; different kinds get different numbers.
    """
    marker = Tensor("lora_controlnet", (0,), Constant(0.0), "float32")
    return [marker, *(part for name in shapes for part in _parts(name, shapes[name], rank, kind))]


def _parts(name: str, shape: tuple[int, ...], rank: int, kind: str) -> Iterator[Tensor]:
    if len(shape) == 1 or name.startswith(_OWN_LAYERS):
        gain = _HINT_GAIN if name.startswith("input_hint_block.") else 1.0
        yield Tensor(name, shape, layer_fill(name, shape, gain=gain, salt=kind))
        return
    layer = name.removesuffix(".weight")
    outputs, inputs = shape[0], prod(shape[1:])
    rank = min(rank, outputs, inputs)
    ones = (1,) * len(shape[2:])
    yield Tensor(f"{layer}.down", (rank, *shape[1:]), Noise(inputs**-0.5, kind))
    yield Tensor(f"{layer}.up", (outputs, rank, *ones), Noise(_EFFECT * rank**-0.5, kind))
