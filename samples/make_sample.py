"""Paints ``lake.jpg``, a photo-like lake on a late afternoon, from numbers alone.

Run it with ``python samples/make_sample.py``; it takes about a minute and needs numpy and Pillow.
The same versions of both give the same picture.
"""
# ruff: noqa: INP001 - a script beside its package

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from lakeside.boat import boat
from lakeside.film import blurred, developed
from lakeside.grasses import meadow, reeds
from lakeside.house import house, jetty
from lakeside.land import draw_land
from lakeside.mesh import draw_meshes
from lakeside.shadow import Shadow
from lakeside.sky import draw_sky
from lakeside.trees import trees
from lakeside.view import EYE, View
from lakeside.water import draw_water

if TYPE_CHECKING:
    from PIL import Image

WIDTH, HEIGHT = 1024, 768
SUPERSAMPLING = 2
SEED = 21
DEFOCUS = 2.2
"""Blur of what is too near to the camera, in rendered pixels."""


def lake(supersampling: int = SUPERSAMPLING) -> Image.Image:
    """Paint the picture.

    Args:
        supersampling: Rendered pixels per pixel, along a side.
    """
    seeds = iter(np.random.default_rng(SEED).spawn(7))
    standing = [*house(next(seeds)), *trees(next(seeds))]
    shadow = Shadow(standing)
    things = [*standing, *jetty(next(seeds)), *meadow(next(seeds)), *boat(next(seeds))]
    in_front = reeds(next(seeds))

    size = (WIDTH * supersampling, HEIGHT * supersampling)
    above, below = View(EYE, *size), View(-EYE, *size)
    sky = draw_sky(above)

    mirrored = sky.copy()
    draw_land(below, mirrored, shadow)
    mirrored, _ = draw_meshes(below, mirrored, [*things, *in_front])

    picture = sky
    draw_water(above, picture, mirrored)
    draw_land(above, picture, shadow)
    picture, _ = draw_meshes(above, picture, things)
    sharp, mask = draw_meshes(above, picture, in_front)
    share = blurred(np.repeat(mask[..., None], 3, axis=2), DEFOCUS)
    picture = picture * (1 - share) + blurred(sharp, DEFOCUS) * share
    return developed(picture, supersampling, next(seeds))


def main() -> None:
    """Write ``lake.jpg`` beside this file."""
    target = Path(__file__).with_name("lake.jpg")
    lake().save(target, quality=86, optimize=True, progressive=True)


if __name__ == "__main__":
    main()
