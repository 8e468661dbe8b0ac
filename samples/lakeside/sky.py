"""The sky and its clouds, marched through three-dimensional noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from lakeside.light import HAZE_COLOUR, SUN
from lakeside.noise import fractal3, smooth

if TYPE_CHECKING:
    from lakeside.noise import Floats
    from lakeside.view import View

COARSE = 4
"""Pixels per marched ray, along a side."""
BASE, THICKNESS = 1150.0, 1100.0
FARTHEST = 30_000.0
STEPS = 56
OPAQUE = 0.02
"""The share of light let through below which a ray is marched no further."""
ZENITH, DUSK = np.array([0.11, 0.26, 0.60]), np.array([0.98, 0.76, 0.56])
SUNLIT, SHADED = np.array([1.40, 1.02, 0.72]), np.array([0.33, 0.36, 0.47])


def draw_sky(view: View) -> Floats:
    """Draw the sky above the horizon, and haze below it."""
    width, height = view.width // COARSE, int(view.horizon) // COARSE + 1
    columns, rows = np.meshgrid(np.arange(width, dtype=float), np.arange(height, dtype=float))
    right = view.slopes(COARSE * (columns + 0.5) - 0.5)
    rise = np.maximum(view.rises(COARSE * (rows + 0.5) - 0.5), 0.001)
    ways = np.stack([right, rise, np.ones_like(right)], axis=-1).reshape(-1, 3)
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    sky = _clouded(ways, _clear(ways)).reshape(height, width, 3)
    picture = np.broadcast_to(HAZE_COLOUR, (view.height, view.width, 3)).copy()
    enlarged = _enlarged(sky)[: view.height]
    picture[: len(enlarged)] = enlarged
    return picture


def _clear(ways: Floats) -> Floats:
    """Give the colour of the cloudless sky in the directions ``ways``."""
    low = smooth(ways[:, 1:2], 0.30, 0.0) ** 1.6
    blue = ZENITH * (1 - 0.45 * ways[:, 1:2])
    return (blue * (1 - low) + DUSK * low) * (1 + 0.25 * (ways @ SUN)[:, None])


def _clouded(ways: Floats, sky: Floats) -> Floats:
    """March rays through the layer of clouds, from near to far, over the clear sky."""
    light, open_ = np.zeros_like(sky), np.ones(len(ways))
    jitter = np.random.default_rng(21).random(len(ways))
    rise = np.maximum(ways[:, 1], 0.02)
    near = np.minimum(BASE / rise, FARTHEST - 4000)
    stride = (np.minimum((BASE + THICKNESS) / rise, FARTHEST) - near) / STEPS
    for step in range(STEPS):
        reach = near + (step + jitter) * stride
        rays = np.nonzero((open_ > OPAQUE) & (reach < FARTHEST))[0]
        points = ways[rays] * reach[rays, None]
        density = _density(points, 5)
        inside = density > 0
        rays, points, density = rays[inside], points[inside], density[inside]
        clear = np.exp(-reach[rays] / 15_000)[:, None]
        cloud = _cloud_light(points) * clear + sky[rays] * (1 - clear)
        share = 1 - np.exp(-density * np.minimum(stride[rays], 160) / 75)
        light[rays] += (open_[rays] * share)[:, None] * cloud
        open_[rays] *= 1 - share
    return light + open_[:, None] * sky


def _cloud_light(points: Floats) -> Floats:
    """Give what a point inside a cloud sends to the camera."""
    between = np.zeros(len(points))
    for way in (70, 170, 340, 620):
        between += 0.9 * way * _density(points + SUN * way, 3)
    sun = np.exp(-between / 330) + 0.22 * np.exp(-between / 1500)
    rise = np.clip((points[:, 1] - BASE) / THICKNESS, 0, 1)
    return SUNLIT * sun[:, None] + SHADED * (0.62 + 0.5 * rise)[:, None]


def _density(points: Floats, octaves: int) -> Floats:
    """Give how thick the cloud is at points of shape (n, 3): piles on a flat base."""
    rise = (points[:, 1] - BASE) / THICKNESS
    cover = fractal3(points * [1 / 3600, 0, 1 / 3600] + [2.3, 0.4, 5.1], 2)
    shape = fractal3(points / 950 + 3.7, octaves)
    thick = np.clip(1.5 * (shape - 0.50) + 2.2 * (cover - 0.485) - 0.45 * rise, 0, 1)
    return 3 * thick * smooth(rise, 0, 0.10) * (1 - 0.75 * smooth(rise, 0.1, 1))


def _enlarged(sky: Floats) -> Floats:
    size = (sky.shape[1] * COARSE, sky.shape[0] * COARSE)
    layers = [
        Image.fromarray(layer.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
        for layer in np.moveaxis(sky, -1, 0)
    ]
    return np.stack([np.asarray(layer, dtype=np.float64) for layer in layers], axis=-1)
