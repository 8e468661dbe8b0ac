"""The broad-leaved trees around the house."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lakeside.light import SKY_COLOUR, SUN, SUN_COLOUR
from lakeside.mesh import WAYS, Mesh, box, lit, varied
from lakeside.noise import Floats, smooth
from lakeside.terrain import headland

LOBES, LEAVES = 46, 760
LEAF = 0.10
"""Size of a leaf, which stands for a spray of them."""
BARK = (0.16, 0.12, 0.09)


@dataclass(frozen=True)
class Tree:
    """Where a tree stands, how large it is, and the colour of its leaves."""

    x: float
    z: float
    tall: float
    wide: float
    leaf: tuple[float, float, float]


TREES = (
    Tree(19.5, 57, 13.5, 4.6, (0.115, 0.150, 0.034)),
    Tree(25.5, 52, 10.5, 4.2, (0.150, 0.150, 0.035)),
    Tree(3.6, 60, 12.0, 3.9, (0.080, 0.120, 0.032)),
    Tree(15.6, 66, 15.5, 5.0, (0.075, 0.112, 0.034)),
    Tree(17.6, 48, 6.6, 2.5, (0.40, 0.165, 0.028)),
    Tree(-0.2, 66, 8.0, 3.0, (0.34, 0.21, 0.035)),
    Tree(30.0, 60, 14.0, 5.4, (0.095, 0.130, 0.034)),
)


def trees(rng: np.random.Generator) -> list[Mesh]:
    """Grow the trees."""
    return [mesh for tree in TREES for mesh in _grown(rng, tree)]


def _grown(rng: np.random.Generator, tree: Tree) -> list[Mesh]:
    ground = headland(np.array([tree.x]), np.array([tree.z]))[0]
    foot = np.array([tree.x, ground - 0.2, tree.z])
    return [*_trunk(rng, foot, tree), _crown(rng, foot + 0.62 * tree.tall * WAYS[1], tree)]


def _trunk(rng: np.random.Generator, foot: Floats, tree: Tree) -> list[Mesh]:
    logs = []
    for level in range(int(tree.tall * 1.1)):
        middle = foot + 0.1 * np.sin(1.7 * level) * WAYS[0] + 0.5 * (level + 0.5) * WAYS[1]
        thick = 0.5 - 0.02 * level
        logs.append(lit(box(middle, (thick, 0.55, thick)), varied(rng, BARK, 6, 0.4)))
    return logs


def _crown(rng: np.random.Generator, middle: Floats, tree: Tree) -> Mesh:
    """Fill lobes with leaves, lit by where they are in the lobe and the crown, darker within."""
    half = np.array([tree.wide, 0.40 * tree.tall, tree.wide])
    lobes = _directions(rng, (LOBES,)) * half * (0.35 + 0.55 * rng.random((LOBES, 1)) ** 0.6)
    lobes[:, [0, 2]] *= 1 - 0.35 * np.clip(lobes[:, 1:2] / half[1], -0.6, 1)
    radius = tree.wide * (0.22 + 0.20 * rng.random((LOBES, 1, 1)))
    outward = _directions(rng, (LOBES, LEAVES))
    reach = 0.55 + 0.5 * rng.random((LOBES, LEAVES, 1)) ** 0.5
    place = (lobes[:, None] + outward * reach * radius).reshape(-1, 3)
    in_crown = place / half
    depth = np.linalg.norm(in_crown, axis=1)
    normal = 0.75 * outward.reshape(-1, 3) + 0.55 * in_crown / np.maximum(depth[:, None], 1e-6)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    sun = np.clip(normal @ SUN + 0.02, 0, 1) * smooth(depth, 0.35, 0.95)
    sky = (0.5 + 0.2 * normal[:, 1]) * smooth(depth, 0.15, 0.9)
    light = 1.25 * SUN_COLOUR * sun[:, None] + SKY_COLOUR * sky[:, None] + 0.02
    long, short = np.moveaxis(rng.normal(size=(len(place), 2, 3)) * LEAF * [[[1], [0.6]]], 1, 0)
    corners = np.stack([place - long, place - short, place + long, place + short], axis=1)
    return Mesh(corners + middle, varied(rng, tree.leaf, len(place), 0.95) * light)


def _directions(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    way = rng.normal(size=(*shape, 3))
    unit: Floats = way / np.linalg.norm(way, axis=-1, keepdims=True)
    return unit
