"""Pixels on their way into and out of a graph."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class PixelImage:
    """A decoded image, upright, in sRGB.

    Attributes:
        pixels: ``uint8`` array of shape (height, width, channels); 3 channels are RGB, 4 are
            RGB with straight alpha. Not to be written to.
        source_digest: SHA-256, in hex, of the file that these pixels follow from, if there is
            one: a file is a tenth of its pixels, and so is the time that it takes to hash.
    """

    pixels: NDArray[np.uint8]
    source_digest: str | None = None

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[0])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file or of shape and pixels, in hex: equal ones mean equal images."""
        if self.source_digest is not None:
            return self.source_digest
        shape = ",".join(map(str, self.pixels.shape))
        digest = hashlib.sha256(shape.encode() + b":")
        digest.update(np.ascontiguousarray(self.pixels).data)
        return digest.hexdigest()
