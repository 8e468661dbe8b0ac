"""Pictures in and out of a graph without files: no PNG is decoded or encoded on the device's time.

The runtime puts these nodes in place of a workflow's ``LoadImage``, ``LoadImageMask``,
``SaveImage``, ``SaveImageAdvanced`` and ``PreviewImage``; a workflow itself names ComfyUI's own
classes.

Pixels are converted by numpy, in the calling thread: torch spreads these operations over all cores,
and where another process keeps one of them busy, its threads wait for each other (seen: 2 ms
became 60 ms for 1024 x 1024 pixels).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from comfyui_runtime.run.outputs import UI_KEY
from comfyui_runtime.workflow.images import PixelImage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

IMAGE_INPUT = "InProcessImageInput"
MASK_INPUT = "InProcessMaskInput"
IMAGE_OUTPUT = "InProcessImageOutput"

_CHANNELS = {"alpha": 3, "red": 0, "green": 1, "blue": 2}

_images: dict[str, PixelImage] = {}


class offered_images:  # noqa: N801 - used as a context manager function
    """Make images available to the graph that runs, by their digests."""

    def __init__(self, images: Mapping[str, PixelImage]) -> None:
        self._offered = {image.digest: image for image in images.values()}

    def __enter__(self) -> None:
        _images.update(self._offered)

    def __exit__(self, *_: object) -> None:
        _images.clear()


class ImageInput:
    """Gives an offered image as IMAGE and MASK, as ``LoadImage`` gives a file's."""

    RETURN_TYPES: ClassVar = ("IMAGE", "MASK")
    FUNCTION: ClassVar = "load"
    CATEGORY: ClassVar = "image"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name
        """Declare the one input: the digest, on which ComfyUI's cache keys the picture."""
        return {"required": {"digest": ("STRING", {})}}

    def load(self, digest: str) -> tuple[Any, Any]:
        """Return float32 tensors: IMAGE (1, height, width, 3) and MASK (1, height, width).

        The mask is 1 where the picture is transparent; an opaque picture has one of 64 x 64
        zeros, as ``LoadImage`` gives it.
        """
        import torch

        pixels = _images[digest].pixels
        rgb = torch.from_numpy(_to_floats(pixels[None, :, :, :3]))
        if pixels.shape[2] != 4:  # noqa: PLR2004 - RGB and alpha
            return rgb, torch.zeros((1, 64, 64))
        mask = _to_floats(pixels[None, :, :, 3])
        np.subtract(np.float32(1.0), mask, out=mask)
        return rgb, torch.from_numpy(mask)


class MaskInput:
    """Gives one channel of an offered image as MASK, as ``LoadImageMask`` gives a file's."""

    RETURN_TYPES: ClassVar = ("MASK",)
    FUNCTION: ClassVar = "load"
    CATEGORY: ClassVar = "mask"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name
        """Declare the digest, on which ComfyUI's cache keys the picture, and the channel."""
        return {"required": {"digest": ("STRING", {}), "channel": (list(_CHANNELS),)}}

    def load(self, digest: str, channel: str) -> tuple[Any]:
        """Return the MASK, a float32 tensor (1, height, width); alpha is 1 where transparent."""
        import torch

        pixels = _images[digest].pixels
        place = _CHANNELS[channel]
        if place < pixels.shape[2]:
            mask = _to_floats(pixels[None, :, :, place])
        else:
            mask = np.ones((1, *pixels.shape[:2]), np.float32)
        if channel == "alpha":
            np.subtract(np.float32(1.0), mask, out=mask)
        return (torch.from_numpy(mask),)


class ImageOutput:
    """Takes the result as pixels, which the handler encodes, and passes the batch on.

    ``SaveImage`` returns what it saves since ComfyUI 0.26, and graphs link to it.
    """

    RETURN_TYPES: ClassVar = ("IMAGE",)
    FUNCTION: ClassVar = "take"
    CATEGORY: ClassVar = "image"
    OUTPUT_NODE: ClassVar = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name
        """Declare the one input: a batch of pictures."""
        return {"required": {"images": ("IMAGE", {})}}

    def take(self, images: Any) -> dict[str, Any]:  # noqa: ANN401 - a torch tensor
        """Return the batch, float (batch, height, width, channels) from 0 to 1, and its pixels.

        Raises:
            ValueError: A value is not finite, which would come out as a black picture.
        """
        values = images.detach().float().cpu().numpy()
        # A sum is finite where every value is, and costs a third of looking at each.
        if not math.isfinite(values.sum()):
            raise ValueError(
                "The picture has values that are not finite (NaN or infinity). The VAE or the "
                "model overflowed: run them in a wider type (ComfyUI's --fp32-vae), or check the "
                "model file."
            )
        taken = [PixelImage(pixels) for pixels in _to_pixels(values)]
        return {"ui": {UI_KEY: taken}, "result": (images,)}


def _to_floats(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    values = pixels.astype(np.float32, order="C")
    values /= np.float32(255.0)
    return values


def _to_pixels(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    # Truncates, as ComfyUI's SaveImage does, so that both give the same bytes.
    scaled = values * np.float32(255.0)
    np.clip(scaled, 0, 255, out=scaled)
    return scaled.astype(np.uint8)


NODE_CLASS_MAPPINGS = {IMAGE_INPUT: ImageInput, MASK_INPUT: MaskInput, IMAGE_OUTPUT: ImageOutput}
NODE_DISPLAY_NAME_MAPPINGS = {
    IMAGE_INPUT: "Image (in-process)",
    MASK_INPUT: "Mask (in-process)",
    IMAGE_OUTPUT: "Result (in-process)",
}
