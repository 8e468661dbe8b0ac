"""Input pictures: the sample photo, each slightly different so that no cache applies."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from comfyui_runtime.workflow.images import PixelImage

_SAMPLE = Path(__file__).resolve().parent.parent / "samples" / "lake.jpg"


def photo(side: int, number: int = 0) -> PixelImage:
    """Return the sample photo, ``side`` x ``side`` pixels, shifted by ``number`` pixels."""
    with Image.open(_SAMPLE) as picture:
        pixels = np.asarray(picture.convert("RGB").resize((side, side), Image.Resampling.LANCZOS))
    return PixelImage(np.ascontiguousarray(np.roll(pixels, number, axis=1)))


def png(image: PixelImage) -> bytes:
    """Return a picture as a PNG."""
    file = BytesIO()
    Image.fromarray(image.pixels).save(file, "PNG")
    return file.getvalue()


def jpeg(image: PixelImage) -> bytes:
    """Return a picture as a JPEG, the usual format of photos."""
    file = BytesIO()
    Image.fromarray(image.pixels).save(file, "JPEG", quality=92)
    return file.getvalue()


def as_base64(data: bytes) -> str:
    """Return bytes as an event carries them."""
    return base64.b64encode(data).decode()
