"""The shadows that things cast on the headland."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from lakeside.light import SUN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakeside.mesh import Mesh
    from lakeside.noise import Floats

CELL = 0.08
ORIGIN_X, ORIGIN_Z = -15.0, 25.0
CELLS = 900
GROUND = 1.3


class Shadow:
    """What polygons darken of the level ground around the house.

    Args:
        meshes: What stands in the sun.
    """

    def __init__(self, meshes: Sequence[Mesh]) -> None:
        chart = Image.new("L", (CELLS, CELLS))
        draw = ImageDraw.Draw(chart)
        for mesh in meshes:
            x, y, z = np.moveaxis(mesh.corners, -1, 0)
            reach = (y - GROUND) / SUN[1]
            column = (x - reach * SUN[0] - ORIGIN_X) / CELL
            row = (z - reach * SUN[2] - ORIGIN_Z) / CELL
            for outline in np.stack([column, row], axis=-1)[reach.min(axis=1) > -1]:
                draw.polygon(outline.ravel().tolist(), fill=255)
        soft = chart.filter(ImageFilter.GaussianBlur(2.5))
        self._dark: Floats = np.asarray(soft, dtype=np.float64) / 255

    def at(self, x: Floats, z: Floats) -> Floats:
        """Give how dark the ground is, from 0 to 1; 0 outside the chart."""
        column = ((x - ORIGIN_X) / CELL).astype(np.int64)
        row = ((z - ORIGIN_Z) / CELL).astype(np.int64)
        known = (column >= 0) & (row >= 0) & (column < CELLS) & (row < CELLS)
        return np.where(known, self._dark[row * known, column * known], 0.0)
