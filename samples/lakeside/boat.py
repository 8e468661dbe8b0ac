"""A rowing boat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lakeside.mesh import WAYS, Mesh, grid, lit, patch, turned, varied

if TYPE_CHECKING:
    from lakeside.noise import Floats

STATIONS, STRAKES = 26, 7
WHITE, TEAL = (0.72, 0.66, 0.54), (0.07, 0.23, 0.30)
INSIDE, TRANSOM = (0.40, 0.24, 0.12), (0.46, 0.29, 0.15)
SEAT, RAIL = (0.50, 0.33, 0.17), (0.55, 0.38, 0.20)


def boat(rng: np.random.Generator) -> list[Mesh]:
    """Build a painted rowing boat with three thwarts."""
    parts = [*_shells(rng), _transom(rng), *_thwarts(rng), *_rails(rng)]
    origin = np.array([-3.1, 0.0, 15.5])
    return [lit(turned(corners, 2.72, origin), colours) for corners, colours in parts]


def hull(s: Floats, t: Floats, inset: float = 0.0) -> Floats:
    """Give points on the hull.

    Args:
        s: From the stern (0) to the bow (1).
        t: From one rail (-1) over the keel (0) to the other (1).
        inset: How far inside the planking.
    """
    beam = (0.66 - inset) * np.sqrt(np.clip(1 - np.abs(1.55 * s - 0.55) ** 2.4, 0, 1))
    rail = 0.46 + 0.60 * (s - 0.35) ** 2
    keel = -0.10 + 0.42 * np.maximum(s - 0.72, 0) ** 1.5 + inset
    height = keel + (rail - keel) * np.abs(t) ** 1.8
    return np.stack([3.9 * (s - 0.5), height, beam * np.sign(t) * np.abs(t) ** 0.62], axis=-1)


def _shells(rng: np.random.Generator) -> list[tuple[Floats, Floats]]:
    s, t = patch(STATIONS, 2 * STRAKES)
    t = 2 * t - 1
    girth = np.abs(t).mean(axis=1, keepdims=True)
    top = girth > 1 - 1 / STRAKES
    paint = np.where(top, WHITE, TEAL) * varied(rng, (1, 1, 1), len(s), 0.12)
    inside = np.array(INSIDE) * (0.55 + 0.45 * girth)
    return [(hull(s, t), paint), (hull(s, t, inset=0.05), inside)]


def _transom(rng: np.random.Generator) -> tuple[Floats, Floats]:
    ribs = np.linspace(-1, 1, 2 * STRAKES + 1)
    stern = hull(np.zeros_like(ribs), ribs)
    rail = stern * [1, 0, 1] + [0, stern[0, 1], 0]
    boards = np.stack([stern[:-1], stern[1:], rail[1:], rail[:-1]], axis=1)
    return boards, varied(rng, TRANSOM, len(boards), 0.08)


def _thwarts(rng: np.random.Generator) -> list[tuple[Floats, Floats]]:
    parts = []
    for s in (0.12, 0.42, 0.70):
        left, right = hull(np.array([s, s]), np.array([-0.75, 0.75]), inset=0.03)
        parts.append((grid(left, right - left, 0.3 * WAYS[0], 1, 3), varied(rng, SEAT, 3, 0.25)))
    return parts


def _rails(rng: np.random.Generator) -> list[tuple[Floats, Floats]]:
    parts = []
    for hand in (-1.0, 1.0):
        low = hull(np.linspace(0, 1, 31), np.full(31, hand))
        high = low + 0.05 * WAYS[1]
        strip = np.stack([low[:-1], low[1:], high[1:], high[:-1]], axis=1)
        parts.append((strip, varied(rng, RAIL, len(strip), 0.2)))
    return parts
