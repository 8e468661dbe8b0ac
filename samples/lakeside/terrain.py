"""The shape of the land: a headland, wooded hills behind the lake, and mountains."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from lakeside.noise import TABLE, fractal, noise, smooth

if TYPE_CHECKING:
    from lakeside.noise import Floats

HILLS_FROM, MOUNTAINS_FROM = 150.0, 1500.0
TREE_SPACING = 5.6
WOODS_DENSITY = 0.93
UNDER_WATER = -1.0


@dataclass(frozen=True)
class Terrain:
    """The land at some points.

    Attributes:
        height: Of the surface, trees included; below 0 is under water.
        canopy: How much of it is trees.
        tint: A random number from 0 to 1 for each tree.
    """

    height: Floats
    canopy: Floats
    tint: Floats


def terrain(x: Floats, z: Floats) -> Terrain:
    """Give the land at ``x`` and ``z``."""
    height, canopy, tint = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    near, far = z < HILLS_FROM, z > MOUNTAINS_FROM
    middle = ~near & ~far
    height[near] = headland(x[near], z[near])
    height[middle], canopy[middle], tint[middle] = _hills(x[middle], z[middle])
    height[far] = _mountains(x[far], z[far])
    return Terrain(height, canopy, tint)


def headland(x: Floats, z: Floats) -> Floats:
    """Give the height of the near land, where the house stands."""
    shore = 44 - 0.55 * (x - 6) + 7 * (noise(x / 9, z / 9) - 0.5)
    tip = -3 - 6 * (noise(x / 7, z / 7 + 40) - 0.5)
    inland = np.minimum(z - shore, 1.3 * (x - tip))
    height = 1.5 * smooth(inland, -1, 9) + 2.2 * smooth(inland, 6, 60) - 0.35
    height += 0.25 * noise(x / 2, z / 2)
    return np.where(inland > -1, height, UNDER_WATER)


def _hills(x: Floats, z: Floats) -> tuple[Floats, Floats, Floats]:
    inland = z - _far_shore(x)
    steep = 0.35 + 1.05 * fractal(x / 330 + 5, z / 330, 4)
    ground = 0.5 + 115 * smooth(inland, 0, 620) * steep + 1.4 * smooth(inland, 0, 9)
    ground += 0.5 * noise(x / 4, z / 4)
    canopy, tint = _conifers(x, z)
    return np.where(inland > 0, ground + canopy, UNDER_WATER), canopy, tint


def _far_shore(x: Floats) -> Floats:
    return 250 + 0.12 * x + 55 * (noise(x / 90, np.full_like(x, 3.0)) - 0.5)


def _conifers(x: Floats, z: Floats) -> tuple[Floats, Floats]:
    """Grow one cone per cell of a square grid, except where clearings are."""
    height, tint = np.zeros_like(x), np.zeros_like(x)
    for across, along in product((-1, 0, 1), repeat=2):
        cell_x = np.floor(x / TREE_SPACING) + across
        cell_z = np.floor(z / TREE_SPACING) + along
        i, j = cell_x.astype(np.int64) & 255, cell_z.astype(np.int64) & 255
        tree_x = (cell_x + 0.1 + 0.8 * TABLE[j, i]) * TREE_SPACING
        tree_z = (cell_z + 0.1 + 0.8 * TABLE[i, j]) * TREE_SPACING
        clearing = noise(tree_x / 70 + 60, tree_z / 70) + 0.5 * noise(tree_x / 21, tree_z / 21 + 9)
        grows = (clearing < WOODS_DENSITY) & (tree_z > _far_shore(tree_x) + 9)
        tall = TREE_SPACING * (1.2 + 1.9 * TABLE[(j + 91) & 255, i]) * grows
        away = np.hypot(x - tree_x, z - tree_z)
        cone = tall * (1 - (away / (0.21 * tall + 0.3)) ** 0.85)
        tint = np.where(cone > height, TABLE[(i + 57) & 255, j], tint)
        height = np.maximum(height, cone)
    return height, tint


def _mountains(x: Floats, z: Floats) -> Floats:
    spread = smooth(z, 1500, 4800) * smooth(z, 11000, 6200)
    crests = fractal(x / 2600 + 1.35, z / 2600 + 0.4, 9, ridged=True)
    return 2050 * spread * np.maximum(crests - 0.30, 0) ** 1.15
