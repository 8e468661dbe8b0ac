"""The house and its jetty."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from lakeside.mesh import WAYS, Mesh, box, grid, lit, turned, varied
from lakeside.noise import Floats, fractal, smooth

LENGTH, DEPTH, WALL, RIDGE, EAVES = 7.2, 5.2, 2.9, 5.3, 0.55
HALF, BACK = LENGTH / 2, DEPTH / 2
X_WAY, Y_WAY, Z_WAY = WAYS

BOARDS = (0.36, 0.205, 0.09)
TRIM = (0.62, 0.58, 0.51)
TILES, TILE_SHADOW = (0.30, 0.075, 0.048), (0.12, 0.035, 0.028)
GLASS, DOOR = (0.55, 0.36, 0.13), (0.10, 0.17, 0.14)
STONE, BRICK = (0.30, 0.28, 0.26), (0.40, 0.24, 0.18)
PLANKS, POSTS = (0.36, 0.28, 0.20), (0.24, 0.18, 0.13)


def house(rng: np.random.Generator) -> list[Mesh]:
    """Build a wooden house with a red roof, on a stone base."""
    site = _Site(rng, origin=np.array([10.5, 1.35, 50.0]), angle=0.36)
    site.put(box((0, -0.25, 0), (LENGTH + 0.2, 0.8, DEPTH + 0.2)), STONE)
    _walls(site)
    _roof(site)
    _opening(site, -2.2, 0.95, (1.15, 1.3))
    _opening(site, 2.2, 0.95, (1.15, 1.3))
    _opening(site, 0.0, 0.1, (1.0, 2.1), door=True)
    site.put(box((1.7, 5.2, 0.7), (0.75, 1.9, 0.75)), BRICK, 0.2)
    site.put(box((1.7, 6.2, 0.7), (0.95, 0.16, 0.95)), STONE)
    return site.meshes


def jetty(rng: np.random.Generator) -> list[Mesh]:
    """Build a plank jetty from the shore into the lake."""
    start, end = np.array([5.2, 0.62, 45.0]), np.array([1.2, 0.62, 30.0])
    way = end - start
    side = np.cross(Y_WAY, way / np.linalg.norm(way)) * 0.85
    thick = 0.18 * Y_WAY
    planks = grid(start - side, way, 2 * side, 62, 1)
    planks += (planks.mean(axis=1, keepdims=True) - planks) * 0.06
    edges = [
        grid(start - side - thick, way, thick, 20, 1),
        grid(start + side - thick, way, thick, 20, 1),
        grid(end - side - thick, 2 * side, thick, 1, 1),
    ]
    meshes = [lit(part, varied(rng, PLANKS, len(part), 0.45)) for part in (planks, *edges)]
    *short, last = np.linspace(0.05, 1, 6)
    for share, above in (*((share, 0.05) for share in short), (last, 1.25)):
        for hand in (-1, 1):
            foot = start + share * way + hand * side + (above / 2 - 0.5) * Y_WAY
            meshes.append(lit(box(foot, (0.17, 1.3 + above, 0.17)), varied(rng, POSTS, 6, 0.2)))
    return meshes


@dataclass
class _Site:
    """Turns parts, given about the middle of the house's floor, into lit meshes in place."""

    rng: np.random.Generator
    origin: Floats
    angle: float
    meshes: list[Mesh] = field(default_factory=list)

    def put(
        self,
        corners: Floats,
        colour: tuple[float, float, float],
        spread: float = 0.3,
        shine: float = 0.0,
    ) -> None:
        colours = varied(self.rng, colour, len(corners), spread)
        self.meshes.append(lit(turned(corners, self.angle, self.origin), colours, shine))

    def clad(self, boards: Floats) -> None:
        """Put up weathered boards, each with a dark seam, in the eaves' shadow at the top."""
        middle = boards.mean(axis=1)
        stain = 0.45 + 1.1 * fractal(middle[:, 0] + middle[:, 2], middle[:, 1] * 2.3, 3)
        shade = smooth(middle[:, 1], WALL - 0.65, WALL - 0.2) * (middle[:, 1] < WALL)
        colours = varied(self.rng, BOARDS, len(boards), 0.45)
        colours = colours * (stain * (1 - 0.55 * shade))[:, None]
        seams = lower_part(boards, 0.16) * [1.002, 1, 1.002]
        self.meshes.append(lit(turned(boards, self.angle, self.origin), colours))
        self.meshes.append(lit(turned(seams, self.angle, self.origin), colours * 0.35))


def lower_part(quads: Floats, share: float) -> Floats:
    """Cut quads down to the ``share`` of them next to their first edge."""
    cut = quads.copy()
    cut[:, 2:] = quads[:, 1::-1] + share * (quads[:, 2:] - quads[:, 1::-1])
    return cut


def _walls(site: _Site) -> None:
    for z in (BACK, -BACK):
        site.clad(grid(np.array([-HALF, 0, z]), LENGTH * X_WAY, WALL * Y_WAY, 18, 14))
    for x in (HALF, -HALF):
        site.clad(grid(np.array([x, 0, -BACK]), DEPTH * Z_WAY, WALL * Y_WAY, 12, 14))
        square = grid(np.array([x, 0, -1]), 2 * Z_WAY, Y_WAY, 16, 12)
        narrowing = square * [1, 1, 0] + square * [0, 0, BACK] * (1 - square[..., 1:2])
        site.clad(narrowing * [1, RIDGE - WALL, 1] + [0, WALL, 0])
        site.put(box((x, 3.7, 0), (0.1, 0.75, 0.75)), TRIM, 0.05)
        site.put(box((x, 3.7, 0), (0.16, 0.55, 0.55)), (0.05, 0.05, 0.06))


def _roof(site: _Site) -> None:
    slope = np.array([0, RIDGE - WALL, BACK])
    overhang = slope * EAVES / BACK
    corner = np.array([-HALF - EAVES, WALL + 0.12, -BACK]) - overhang
    along = (LENGTH + 2 * EAVES) * X_WAY
    for flip in ([1, 1, 1], [1, 1, -1]):
        up = (slope + overhang) * flip
        tiles = grid(corner * flip, along, up, 44, 20)
        site.put(lower_part(tiles, 0.22) + 0.02 * Y_WAY, TILE_SHADOW, 0.6)
        site.put(tiles, TILES, 0.95)
        site.put(grid((corner - 0.2 * Y_WAY) * flip, along, 0.2 * Y_WAY, 8, 1), TRIM, 0.1)
        for end in (corner - 0.06 * X_WAY, corner + along + 0.06 * X_WAY):
            site.put(grid((end - 0.2 * Y_WAY) * flip, up, 0.2 * Y_WAY, 24, 1), TRIM, 0.1)


def _opening(
    site: _Site, x: float, y: float, size: tuple[float, float], *, door: bool = False
) -> None:
    """Put a door, or a window of six panes with a lamp behind it, into the front wall."""
    width, height = size
    corner = np.array([x - width / 2, y, -BACK - 0.08])
    columns, rows = (1, 1) if door else (2, 3)
    for pane in grid(corner, width * X_WAY, height * Y_WAY, columns, rows):
        outward = pane - pane.mean(axis=0)
        outward /= np.abs(outward).max(axis=0) + Z_WAY
        site.put((pane + 0.13 * outward)[None], TRIM, 0.0)
        glazing = (pane - 0.03 * outward)[None] - 0.04 * Z_WAY
        if door:
            site.put(glazing, DOOR, 0.5)
        else:
            site.put(glazing, GLASS, 0.5, shine=0.75)
        site.meshes[-2:] = [replace(mesh, nearer=1.0) for mesh in site.meshes[-2:]]
