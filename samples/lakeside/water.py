"""The lake."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lakeside.light import hazed
from lakeside.noise import fractal, noise, smooth
from lakeside.view import EYE

if TYPE_CHECKING:
    from lakeside.noise import Floats
    from lakeside.view import View

WAVES = ((3.1, 0.007), (1.25, 0.009), (0.5, 0.010), (0.21, 0.008))
"""Length and steepness of the ripples."""
DEEP = np.array([0.026, 0.072, 0.081])


def draw_water(view: View, picture: Floats, mirrored: Floats) -> None:
    """Draw what the lake mirrors, bent by ripples, over the dark of its depth.

    Args:
        view: The camera.
        picture: Drawn on below the horizon.
        mirrored: What a camera as far below the surface sees.
    """
    first = int(np.ceil(view.horizon))
    columns, rows = np.meshgrid(np.arange(view.width), np.arange(first, view.height))
    down = np.maximum(-view.rises(rows.astype(np.float64)), 1e-4)
    z = EYE / down
    x = z * view.slopes(columns.astype(np.float64))
    breeze = 0.35 + 1.1 * smooth(fractal(x / 26 + 8, z / 70, 3), 0.44, 0.66)
    slope_x, slope_z = _ripples(x, z, view.focal)
    slope_x, slope_z = slope_x * breeze, slope_z * breeze
    unresolved = 0.010 * breeze * smooth(z, 20, 160)
    bent = columns + 2.4 * slope_x * down * view.focal
    column = np.clip(bent, 0, view.width - 1).astype(np.int64)
    image = np.zeros((*x.shape, 3))
    spread = np.linspace(-1, 1.6, 7)
    for share in spread:
        rise = np.abs(down + 2 * slope_z + unresolved * share)
        row = np.clip(view.horizon - rise * view.focal, 0, view.height - 1).astype(np.int64)
        image += mirrored[row, column] / len(spread)
    facing = np.clip(np.sin(np.arctan(down)) + slope_z, 0.004, 1)
    # Schlick's approximation of how much water reflects.
    share = (0.02 + 0.98 * (1 - facing) ** 5)[..., None]
    depth = DEEP * (0.8 + 0.4 * noise(x / 5, z / 9))[..., None]
    picture[first:] = hazed(0.94 * image * share + depth * (1 - share), z, np.zeros_like(z))


def _ripples(x: Floats, z: Floats, focal: float) -> tuple[Floats, Floats]:
    """Give the water's slopes, without the ripples too small to be seen at that distance."""
    slope_x, slope_z = np.zeros_like(x), np.zeros_like(x)
    pixel = z * z / (EYE * focal)
    step = 0.18
    for length, steepness in WAVES:
        seen = steepness * np.clip(length / (2.2 * pixel), 0, 1) / step
        u, v = x / (1.7 * length), (z + 0.12 * x) / length
        slope_x += seen * (noise(u + step, v) - noise(u - step, v))
        slope_z += seen * (noise(u, v + step) - noise(u, v - step))
    return slope_x, slope_z
