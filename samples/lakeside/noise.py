"""Smooth random fields."""

from __future__ import annotations

from itertools import product
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

_rng = np.random.default_rng(20)
TABLE: Floats = _rng.random((256, 256))
"""Random numbers from 0 to 1; what is placed by it repeats after 256 cells."""
_VOLUME: Floats = _rng.random((64, 64, 64))


def smooth(x: Floats, low: float, high: float) -> Floats:
    """Rise smoothly from 0 at ``low`` to 1 at ``high``; falls when ``low`` is the greater."""
    t: Floats = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def noise(x: Floats, y: Floats) -> Floats:
    """Give smooth noise from 0 to 1 with features one unit wide."""
    column, row = np.floor(x), np.floor(y)
    right, down = smooth(x - column, 0, 1), smooth(y - row, 0, 1)
    i, j = column.astype(np.int64) & 255, row.astype(np.int64) & 255
    i1, j1 = (i + 1) & 255, (j + 1) & 255
    top = TABLE[j, i] * (1 - right) + TABLE[j, i1] * right
    bottom = TABLE[j1, i] * (1 - right) + TABLE[j1, i1] * right
    blend: Floats = top * (1 - down) + bottom * down
    return blend


def fractal(x: Floats, y: Floats, octaves: int, *, ridged: bool = False) -> Floats:
    """Add up finer and fainter noises to about 0 to 1; ``ridged`` gives mountain crests."""
    total = np.zeros_like(x)
    for octave in range(octaves):
        layer = noise(x + 17.3 * octave, y + 9.1 * octave)
        total += 0.5**octave * (1 - np.abs(2 * layer - 1) if ridged else layer)
        x, y = 1.6 * x + 1.2 * y, 1.6 * y - 1.2 * x
    return total / (2 - 0.5 ** (octaves - 1))


def fractal3(points: Floats, octaves: int) -> Floats:
    """Add up finer and fainter three-dimensional noises at points of shape (n, 3)."""
    total = np.zeros(len(points))
    for octave in range(octaves):
        scaled = points * 2.03**octave + 11.7 * octave
        cell = np.floor(scaled)
        ahead = smooth(scaled - cell, 0, 1)
        shares = np.stack([1 - ahead, ahead])
        corners = np.stack([cell, cell + 1]).astype(np.int64) & 63
        for a, b, c in product((0, 1), repeat=3):
            share = shares[a, :, 0] * shares[b, :, 1] * shares[c, :, 2]
            value = _VOLUME[corners[a, :, 0], corners[b, :, 1], corners[c, :, 2]]
            total += 0.5**octave * share * value
    return total / (2 - 0.5 ** (octaves - 1))
