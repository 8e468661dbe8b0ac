"""The sun, the sky's light, the air, and light as bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lakeside.noise import smooth

if TYPE_CHECKING:
    import numpy.typing as npt

    from lakeside.noise import Floats

SUN: Floats = np.array([-0.74, 0.42, -0.52]) / np.linalg.norm([-0.74, 0.42, -0.52])
"""Direction to the sun: low, from behind the camera's left shoulder."""
SUN_COLOUR: Floats = np.array([1.95, 1.24, 0.64])
SKY_COLOUR: Floats = np.array([0.21, 0.29, 0.42])
HAZE_COLOUR: Floats = np.array([0.50, 0.54, 0.65])
BRIGHTEST = 4.0
"""What the byte 255 stands for."""


def hazed(colour: Floats, depth: Floats, y: Floats) -> Floats:
    """Mix in the air between the eye and a point ``depth`` metres away and ``y`` high."""
    air = 1 - np.exp(-depth / (8200 + 9 * np.maximum(y, 0)))
    mist = 0.10 * smooth(depth, 150, 500) * smooth(y, 45, 0)
    share: Floats = np.clip(air + mist, 0, 1)[..., None]
    return colour * (1 - share) + HAZE_COLOUR * share


def encoded(light: Floats) -> npt.NDArray[np.uint8]:
    """Give linear light as bytes, finer where it is dark."""
    return (np.sqrt(np.clip(light / BRIGHTEST, 0, 1)) * 255 + 0.5).astype(np.uint8)


def decoded(values: npt.NDArray[np.uint8]) -> Floats:
    """Give the light that bytes from :func:`encoded` stand for."""
    return (values.astype(np.float64) / 255) ** 2 * BRIGHTEST
