"""Grass around the house and reeds in front of the camera."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lakeside.light import SKY_COLOUR, SUN_COLOUR
from lakeside.mesh import WAYS, Mesh, box, lit, varied
from lakeside.noise import noise
from lakeside.terrain import headland

if TYPE_CHECKING:
    from lakeside.noise import Floats

GREEN, DRY = (0.20, 0.24, 0.05), (0.46, 0.36, 0.13)
REED, GOLD, CAT_TAIL = (0.20, 0.235, 0.06), (0.46, 0.34, 0.12), (0.10, 0.055, 0.028)
WATERSIDE = 0.8
"""Height below which the grass is taller."""
FACING_CAMERA = [2, 4, 5]
"""The faces of a box that are worth drawing on a cat-tail."""


def meadow(rng: np.random.Generator) -> list[Mesh]:
    """Grow tufts along the shore and around the house."""
    tried = 110_000
    x, z = rng.uniform(-4, 40, tried), rng.uniform(34, 66, tried)
    y = headland(x, z)
    trodden = np.hypot(x - 10.5, z - 50) < 3.7  # noqa: PLR2004 - around the house
    tufts = noise(x / 1.6, z / 1.6 + 7) > 0.38  # noqa: PLR2004 - the gaps between tufts
    grows = (y > 0.12) & tufts & ~trodden  # noqa: PLR2004 - above the water's edge
    foot = np.stack([x, y - 0.05, z], axis=1)[grows]
    tall = 0.14 + 0.34 * rng.random(len(foot)) * (1 + (foot[:, 1] < WATERSIDE))
    lean = rng.normal(0.1, 0.22, (len(foot), 2))
    return [_blades(foot, tall, lean, 0.045, _mixed(rng, GREEN, DRY, len(foot)))]


def reeds(rng: np.random.Generator) -> list[Mesh]:
    """Grow reeds and cat-tails in the corners nearest to the camera, taller towards the edges."""
    meshes = []
    for middle, spread, count in ((-4.6, 0.85, 330), (5.0, 0.75, 230)):
        x, z = middle + rng.normal(0, spread, count), rng.uniform(7.4, 10.5, count)
        foot = np.stack([x, np.full(count, -0.1), z], axis=1)
        tall = (0.55 + 1.5 * rng.random(count)) * np.clip((np.abs(x) - 2.6) / 2.6, 0.15, 1.1)
        lean = rng.normal(0.06, 0.13, (count, 2))
        meshes.append(_blades(foot, tall, lean, 0.035, _mixed(rng, REED, GOLD, count)))
        tallest = np.argsort(tall)[count // 3 :: 8]
        meshes += _cat_tails(rng, foot[tallest], tall[tallest])
    return meshes


def _cat_tails(rng: np.random.Generator, foot: Floats, tall: Floats) -> list[Mesh]:
    brown = varied(rng, CAT_TAIL, len(foot), 0.3)
    stalks = _blades(foot, 0.97 * tall, np.zeros((len(foot), 2)), 0.03, 2 * brown)
    tops = foot + 0.95 * tall[:, None] * WAYS[1]
    heads = [box(top, (0.042, 0.20, 0.042))[FACING_CAMERA] for top in tops]
    return [stalks, lit(np.concatenate(heads), np.repeat(brown, len(FACING_CAMERA), axis=0))]


def _mixed(
    rng: np.random.Generator,
    colour: tuple[float, float, float],
    other: tuple[float, float, float],
    count: int,
) -> Floats:
    """Give ``count`` colours, about four in ten of them the other one."""
    pick = rng.random((count, 1)) > 0.6  # noqa: PLR2004 - the share itself
    return np.where(pick, varied(rng, other, count, 0.5), varied(rng, colour, count, 0.8))


def _blades(foot: Floats, tall: Floats, lean: Floats, width: float, colour: Floats) -> Mesh:
    """Build blades of two bent segments each, brighter towards the tip."""
    up = np.stack([lean[:, 0], np.ones(len(foot)), lean[:, 1]], axis=1) * tall[:, None]
    knee = foot + up * [0.33, 0.55, 0.33]
    tip = foot + up * [1.6, 1, 1.6]
    side = width / 2 * WAYS[0]
    low = np.stack([foot - side, foot + side, knee + 0.8 * side, knee - 0.8 * side], axis=1)
    high = np.stack([knee - 0.8 * side, knee + 0.8 * side, tip, tip], axis=1)
    light = colour * (0.55 * SUN_COLOUR + 0.5 * SKY_COLOUR)
    return Mesh(np.concatenate([low, high]), np.concatenate([0.55 * light, 1.1 * light]))
