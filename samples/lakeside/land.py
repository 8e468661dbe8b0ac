"""The land as it is seen: found for each pixel, coloured and lit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lakeside.light import SKY_COLOUR, SUN, SUN_COLOUR, hazed
from lakeside.noise import fractal, smooth
from lakeside.terrain import MOUNTAINS_FROM, terrain

if TYPE_CHECKING:
    import numpy.typing as npt

    from lakeside.noise import Floats
    from lakeside.shadow import Shadow
    from lakeside.terrain import Terrain
    from lakeside.view import View

NEAREST, FARTHEST, STEPS = 18.0, 12000.0, 2600
HIDDEN = -9.0
"""An elevation below every other."""
GRASS, HAY, MUD = np.array([[0.13, 0.16, 0.045], [0.33, 0.27, 0.09], [0.20, 0.165, 0.12]])
NEEDLES, YOUNG, LARCH = np.array([[0.03, 0.062, 0.026], [0.045, 0.04, 0.004], [0.26, 0.15, 0.03]])
ROCK, PASTURE, SNOW = np.array([[0.21, 0.19, 0.185], [0.075, 0.105, 0.045], [0.86, 0.88, 0.92]])
LARCHES_FROM = 0.9
"""The tint from which a conifer is a larch in its autumn colour."""


def draw_land(view: View, picture: Floats, shadow: Shadow) -> None:
    """Draw the land over ``picture``."""
    rows, columns, depth = _seen(view)
    x = depth * view.slopes(columns.astype(np.float64))
    picture[rows, columns] = _lit(x, depth, shadow)


def _seen(view: View) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
    """Find the pixels that show land, and how deep in the picture it is there.

    Every column is walked outwards once: the highest elevation so far tells which step a pixel
    sees, which is exact for a camera that does not tilt.
    """
    depths = np.geomspace(NEAREST, FARTHEST, STEPS)
    z = np.repeat(depths[:, None], view.width, axis=1)
    height = terrain(z * view.slopes(np.arange(view.width, dtype=np.float64)), z).height
    elevation = np.where(height > 0, (height - view.eye) / z, HIDDEN)
    skyline = np.maximum.accumulate(elevation, axis=0)
    rises = view.rises(np.arange(view.height, dtype=np.float64))
    steps = np.stack([np.searchsorted(column, rises) for column in skyline.T], axis=1)
    water_at = np.where(rises < 0, view.eye / np.maximum(-rises, 1e-9), np.inf)
    shown = (steps < STEPS) & (depths[np.minimum(steps, STEPS - 1)] < water_at[:, None])
    rows, columns = np.nonzero(shown)
    after = steps[rows, columns]
    before = np.maximum(after - 1, 0)
    low, high = elevation[before, columns], elevation[after, columns]
    share = np.where(low > HIDDEN, (rises[rows] - low) / np.maximum(high - low, 1e-9), 1.0)
    depth = depths[before] + (depths[after] - depths[before]) * np.clip(share, 0, 1)
    return rows, columns, depth


def _lit(x: Floats, z: Floats, shadow: Shadow) -> Floats:
    step = np.maximum(0.12, z * 0.0009)
    land = terrain(x, z)
    slope_x = (terrain(x + step, z).height - terrain(x - step, z).height) / (2 * step)
    slope_z = (terrain(x, z + step).height - terrain(x, z - step).height) / (2 * step)
    up = 1 / np.sqrt(1 + slope_x**2 + slope_z**2)
    facing = np.maximum(SUN[1] - SUN[0] * slope_x - SUN[2] * slope_z, 0) * up
    sun = facing * (1 - shadow.at(x, z)) * _past_crests(x, land.height, z)
    sky = 0.35 + 0.65 * up
    light = SUN_COLOUR * sun[..., None] + SKY_COLOUR * sky[..., None]
    surface = np.where(
        (z > MOUNTAINS_FROM)[..., None], _alpine(x, z, land, up), _lowland(x, z, land)
    )
    return hazed(surface * light, np.hypot(x, z), land.height)


def _past_crests(x: Floats, y: Floats, z: Floats) -> Floats:
    """Give how much of the sun gets past the land between it and each point."""
    light = np.ones_like(x)
    for reach in np.geomspace(0.002, 0.12, 9):
        way = reach * z
        crest = terrain(x + way * SUN[0], z + way * SUN[2]).height
        light = np.minimum(light, smooth((crest - y - way * SUN[1]) / way, 0.05, -0.03))
    return light


def _lowland(x: Floats, z: Floats, land: Terrain) -> Floats:
    grain = fractal(x / 0.7, z / 0.7, 4)[..., None]
    dry = 0.65 * smooth(fractal(x / 5, z / 5, 3), 0.45, 0.62)[..., None]
    meadow = GRASS * (0.6 + 0.8 * grain) * (1 - dry) + HAY * dry
    bank = smooth(land.height, 0.75, 0.25)[..., None]
    meadow = meadow * (1 - bank) + MUD * (0.5 + grain) * bank
    tint = land.tint[..., None]
    needles = np.where(tint > LARCHES_FROM, LARCH, NEEDLES + tint * YOUNG)
    whorls = 0.35 + 1.3 * fractal(x / 0.9, land.height / 0.8, 2)
    shade = whorls * (0.35 + 0.65 * smooth(land.canopy, 0, 9))
    surface: Floats = np.where(land.canopy[..., None] > 0, needles * shade[..., None], meadow)
    return surface


def _alpine(x: Floats, z: Floats, land: Terrain, up: Floats) -> Floats:
    patches = fractal(x / 300, z / 300, 5)
    grown = (smooth(land.height, 620, 330) * smooth(up, 0.55, 0.78))[..., None]
    snow_line = land.height + 420 * (patches - 0.5)
    snow = (smooth(snow_line, 640, 760) * smooth(up, 0.52, 0.70))[..., None]
    rock = ROCK * (0.55 + 0.9 * patches[..., None])
    pasture = PASTURE * (0.7 + 0.6 * patches[..., None])
    surface: Floats = (rock * (1 - grown) + pasture * grown) * (1 - snow) + SNOW * snow
    return surface
