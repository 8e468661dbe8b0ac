"""Nodes of the benchmark: one that occupies the device, and two around a tiny model."""

from __future__ import annotations

import time
from typing import Any, ClassVar

import torch


class Hold:
    """Waits without using the processor, as the host does while a GPU works."""

    RETURN_TYPES: ClassVar = ("IMAGE",)
    FUNCTION: ClassVar = "hold"
    CATEGORY: ClassVar = "bench"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name
        """Declare the inputs."""
        return {"required": {"image": ("IMAGE", {}), "seconds": ("FLOAT", {"default": 0.5})}}

    def hold(self, image: Any, seconds: float) -> tuple[Any]:  # noqa: ANN401 - a torch tensor
        """Return the image after ``seconds``."""
        time.sleep(seconds)
        return (image,)


class Text:
    """Makes a conditioning of a text, without a text encoder."""

    RETURN_TYPES: ClassVar = ("CONDITIONING",)
    FUNCTION: ClassVar = "encode"
    CATEGORY: ClassVar = "bench"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name
        """Declare the inputs."""
        return {"required": {"text": ("STRING", {}), "width": ("INT", {"default": 4096})}}

    def encode(self, text: str, width: int) -> tuple[Any]:
        """Return one token for each of the text's bytes."""
        codes = torch.tensor(list(text.encode()), dtype=torch.float32) / 255
        return ([[codes[None, :, None].expand(1, -1, width).clone(), {}]],)


class Tint:
    """Makes a picture of another picture and a latent."""

    RETURN_TYPES: ClassVar = ("IMAGE",)
    FUNCTION: ClassVar = "tint"
    CATEGORY: ClassVar = "bench"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name
        """Declare the inputs."""
        return {"required": {"image": ("IMAGE", {}), "latent": ("LATENT", {})}}

    def tint(self, image: Any, latent: dict[str, Any]) -> tuple[Any]:  # noqa: ANN401 - a tensor
        """Return the image, as bright as the latent says."""
        by = latent["samples"].float().mean().nan_to_num().sigmoid()
        return (image * by,)


NODE_CLASS_MAPPINGS = {"BenchHold": Hold, "BenchText": Text, "BenchTint": Tint}
