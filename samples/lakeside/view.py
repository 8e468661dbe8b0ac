"""Where the camera stands and what it sees where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lakeside.noise import Floats

EYE = 2.5
"""Height of the camera above the lake."""
FOCAL = 0.98
"""Focal length in picture widths: a slightly wide lens."""
HORIZON = 0.53
"""Where the horizon stands, as a share of the height from the top."""


@dataclass(frozen=True)
class View:
    """A camera at x = z = 0 that looks along z, without tilt.

    Attributes:
        eye: Its height; one below the surface sees what the lake mirrors.
        width: Pixels.
        height: Pixels.
    """

    eye: float
    width: int
    height: int

    @property
    def focal(self) -> float:
        """Focal length in pixels."""
        return FOCAL * self.width

    @property
    def horizon(self) -> float:
        """Row of the horizon."""
        return HORIZON * self.height

    def slopes(self, columns: Floats) -> Floats:
        """Give how far to the right per metre of depth the middles of columns look."""
        return (columns + 0.5 - self.width / 2) / self.focal

    def rises(self, rows: Floats) -> Floats:
        """Give how far up per metre of depth the middles of rows look."""
        return (self.horizon - rows - 0.5) / self.focal

    def project(self, points: Floats) -> Floats:
        """Give column and row of points of shape (…, 3)."""
        depth = np.maximum(points[..., 2], 0.5)
        columns = self.width / 2 + self.focal * points[..., 0] / depth
        rows = self.horizon - self.focal * (points[..., 1] - self.eye) / depth
        return np.stack([columns, rows], axis=-1)
