"""Paints ``lake.jpg``, a photo-like picture of a lake at golden hour, from numbers alone.

The land is a height field, seen by walking every screen column outwards; trees, house, boat and
reeds are clouds of small lit polygons; the clouds are marched through three-dimensional noise; the
water mirrors a second view from below. Run it with ``python samples/make_sample.py``; the same
seed gives the same picture.

Lengths are metres, x to the right, y up and z into the picture, with the lake's surface at y = 0.
Colours are linear RGB in about [0, 1] until the film curve at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

Floats: TypeAlias = npt.NDArray[np.float64]

WIDTH, HEIGHT = 1024, 768
SUPERSAMPLING = 2
FOCAL = 0.98
"""Focal length in picture widths: a slightly wide lens."""
HORIZON = 0.53
"""Where the horizon stands, as a share of the height from the top."""
EYE = 2.5
SEED = 20

SUN = np.array([-0.74, 0.42, -0.52]) / np.linalg.norm([-0.74, 0.42, -0.52])
SUN_COLOUR = np.array([1.95, 1.24, 0.64])
SKY_COLOUR = np.array([0.21, 0.29, 0.42])
HAZE_COLOUR = np.array([0.50, 0.54, 0.65])

_rng = np.random.default_rng(SEED)
_TABLE = _rng.random((256, 256))
_VOLUME = _rng.random((64, 64, 64))


@dataclass(frozen=True)
class Mesh:
    """Flat-coloured polygons: corners of shape (n, corners, 3), lit colours of shape (n, 3).

    ``nearer`` is how many metres nearer than they are they count when the order of drawing is
    found, for what lies flat on something else.
    """

    corners: Floats
    colours: Floats
    nearer: float = 0.0


@dataclass(frozen=True)
class View:
    """A camera that looks along z from x = 0; ``eye`` below the surface sees the mirror world."""

    eye: float
    width: int
    height: int

    @property
    def focal(self) -> float:
        """Focal length in pixels."""
        return FOCAL * self.width

    @property
    def horizon(self) -> float:
        """Row of the horizon in pixels."""
        return HORIZON * self.height

    def project(self, points: Floats) -> Floats:
        """Give column and row of points of shape (…, 3)."""
        depth = np.maximum(points[..., 2], 0.5)
        columns = self.width / 2 + self.focal * points[..., 0] / depth
        rows = self.horizon - self.focal * (points[..., 1] - self.eye) / depth
        return np.stack([columns, rows], axis=-1)


# Noise


def smooth(x: Floats, low: float, high: float) -> Floats:
    """Rise smoothly from 0 at ``low`` to 1 at ``high``; falls when ``low`` is the greater."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def noise(x: Floats, y: Floats) -> Floats:
    """Smooth noise in [0, 1] with features one unit wide."""
    column, row = np.floor(x), np.floor(y)
    fx, fy = x - column, y - row
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    i, j = column.astype(np.int64) & 255, row.astype(np.int64) & 255
    i1, j1 = (i + 1) & 255, (j + 1) & 255
    top = _TABLE[j, i] * (1 - fx) + _TABLE[j, i1] * fx
    bottom = _TABLE[j1, i] * (1 - fx) + _TABLE[j1, i1] * fx
    result: Floats = top * (1 - fy) + bottom * fy
    return result


def fractal(x: Floats, y: Floats, octaves: int, *, ridged: bool = False) -> Floats:
    """Sum of halving noises in about [0, 1]; ``ridged`` gives mountain crests."""
    total, weight, norm = np.zeros_like(x), 1.0, 0.0
    for octave in range(octaves):
        layer = noise(x + 17.3 * octave, y + 9.1 * octave)
        total += weight * (1 - np.abs(2 * layer - 1) if ridged else layer)
        norm += weight
        weight *= 0.5
        x, y = 1.6 * x + 1.2 * y, 1.6 * y - 1.2 * x
    return total / norm


def fractal3(points: Floats, octaves: int) -> Floats:
    """Three-dimensional fractal noise in about [0, 1] at points of shape (n, 3)."""
    total, weight, norm = np.zeros(len(points)), 1.0, 0.0
    for octave in range(octaves):
        scaled = points * 2.03**octave + 11.7 * octave
        cell = np.floor(scaled)
        f = scaled - cell
        f = f * f * (3 - 2 * f)
        i, j, k = (cell.astype(np.int64) & 63).T
        layer = np.zeros(len(points))
        for corner in range(8):
            a, b, c = corner & 1, corner >> 1 & 1, corner >> 2
            share = (
                (f[:, 0] if a else 1 - f[:, 0])
                * (f[:, 1] if b else 1 - f[:, 1])
                * (f[:, 2] if c else 1 - f[:, 2])
            )
            layer += share * _VOLUME[(i + a) & 63, (j + b) & 63, (k + c) & 63]
        total += weight * layer
        norm += weight
        weight *= 0.5
    return total / norm


# Land


def shore_height(x: Floats, z: Floats) -> Floats:
    """Height of the near headland, where the house stands; below 0 is under water."""
    edge = 44 - 0.55 * (x - 6) + 7 * (noise(x / 9, z / 9) - 0.5)
    inland = np.minimum(z - edge, 1.3 * (x + 3 + 6 * (noise(x / 7, z / 7 + 40) - 0.5)))
    height = 1.5 * smooth(inland, -1, 9) + 2.2 * smooth(inland, 6, 60) - 0.35
    return np.where(inland > -1, height + 0.25 * noise(x / 2, z / 2), -1.0)


def conifers(x: Floats, z: Floats) -> tuple[Floats, Floats]:
    """Height of a conifer forest's canopy above the ground, and a random tint per tree."""
    spacing = 5.6
    cell_x, cell_z = np.floor(x / spacing), np.floor(z / spacing)
    height, tint = np.zeros_like(x), np.zeros_like(x)
    for dx in (-1, 0, 1):
        for dz in (-1, 0, 1):
            i = (cell_x + dx).astype(np.int64) & 255
            j = (cell_z + dz).astype(np.int64) & 255
            tree_x = (cell_x + dx + 0.1 + 0.8 * _TABLE[j, i]) * spacing
            tree_z = (cell_z + dz + 0.1 + 0.8 * _TABLE[i, j]) * spacing
            dense = noise(tree_x / 70 + 60, tree_z / 70) + 0.5 * noise(tree_x / 21, tree_z / 21 + 9)
            grows = (dense < 0.93) & (tree_z > far_shore(tree_x) + 9)
            size = spacing * (1.2 + 1.9 * _TABLE[(j + 91) & 255, i]) * grows
            away = np.hypot(x - tree_x, z - tree_z)
            cone = size * (1 - (away / (0.21 * size + 0.3)) ** 0.85)
            tint = np.where(cone > height, _TABLE[(i + 57) & 255, j], tint)
            height = np.maximum(height, cone)
    return height, tint


def far_shore(x: Floats) -> Floats:
    """Distance at which the land behind the lake begins."""
    return 250 + 0.12 * x + 55 * (noise(x / 90, np.full_like(x, 3.0)) - 0.5)


def far_hills(x: Floats, z: Floats) -> tuple[Floats, Floats, Floats]:
    """Height of the hills behind the lake with their trees, the trees' own height, and tints."""
    inland = z - far_shore(x)
    rise = 0.35 + 1.05 * fractal(x / 330 + 5, z / 330, 4)
    ground = 0.5 + 115 * smooth(inland, 0, 620) * rise + 1.4 * smooth(inland, 0, 9)
    ground += 0.5 * noise(x / 4, z / 4) * (inland > 0)
    canopy, tint = conifers(x, z)
    return np.where(inland > 0, ground + canopy, -1.0), canopy, tint


def mountains(x: Floats, z: Floats) -> Floats:
    """Height of the mountains at the horizon."""
    spread = smooth(z, 1500, 4800) * smooth(z, 11000, 6200)
    crests = fractal(x / 2600 + 1.35, z / 2600 + 0.4, 9, ridged=True)
    return 2050 * spread * np.maximum(crests - 0.30, 0) ** 1.15


HILLS_FROM, MOUNTAINS_FROM = 150.0, 1500.0


def terrain(x: Floats, z: Floats) -> tuple[Floats, Floats, Floats]:
    """Give the land's height, its trees' own height, and a tint per tree."""
    height, canopy, tint = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    near, high = z < HILLS_FROM, z > MOUNTAINS_FROM
    middle = ~near & ~high
    height[near] = shore_height(x[near], z[near])
    height[middle], canopy[middle], tint[middle] = far_hills(x[middle], z[middle])
    height[high] = mountains(x[high], z[high])
    return height, canopy, tint


def ground_colour(
    x: Floats, y: Floats, z: Floats, up: Floats, canopy: Floats, tint: Floats
) -> Floats:
    """Colour of the land's own surface, unlit; ``up`` is how level it is, 1 for flat."""
    grain = fractal(x / 0.7, z / 0.7, 4)[..., None]
    meadow = np.array([0.13, 0.16, 0.045]) * (0.6 + 0.8 * grain)
    dry = smooth(fractal(x / 5, z / 5, 3), 0.45, 0.62)[..., None]
    meadow = meadow * (1 - 0.65 * dry) + np.array([0.33, 0.27, 0.09]) * 0.65 * dry
    bank = smooth(y, 0.75, 0.25)[..., None] * (z < 200)[..., None]
    meadow = meadow * (1 - bank) + np.array([0.20, 0.165, 0.12]) * (0.5 + grain) * bank
    needles = np.array([0.030, 0.062, 0.026]) + tint[..., None] * np.array([0.045, 0.040, 0.004])
    autumn = (tint > 0.90)[..., None]
    needles = np.where(autumn, np.array([0.26, 0.15, 0.03]), needles)
    whorls = 0.35 + 1.3 * fractal(x / 0.9, y / 0.8, 2)
    needles = needles * (whorls * (0.35 + 0.65 * smooth(canopy, 0, 9)))[..., None]
    surface = np.where(canopy[..., None] > 0, needles, meadow)
    patches = fractal(x / 300, z / 300, 5)
    rock = np.array([0.21, 0.19, 0.185]) * (0.55 + 0.9 * patches[..., None])
    pasture = np.array([0.075, 0.105, 0.045]) * (0.7 + 0.6 * patches[..., None])
    grown = (smooth(y, 620, 330) * smooth(up, 0.55, 0.78))[..., None]
    snow = (smooth(y + 420 * (patches - 0.5), 640, 760) * smooth(up, 0.52, 0.70))[..., None]
    alp = rock * (1 - grown) + pasture * grown
    alp = alp * (1 - snow) + np.array([0.86, 0.88, 0.92]) * snow
    return np.where((z > MOUNTAINS_FROM)[..., None], alp, surface)


def hazed(colour: Floats, depth: Floats, y: Floats) -> Floats:
    """Mix in the air between the eye and a point ``depth`` metres away and ``y`` high."""
    air = 1 - np.exp(-depth / (8200 + 9 * np.maximum(y, 0)))
    air = air + 0.10 * smooth(depth, 150, 500) * smooth(y, 45, 0)
    return colour + (HAZE_COLOUR - colour) * np.clip(air, 0, 1)[..., None]


def draw_land(view: View, picture: Floats, shadow: Floats) -> Floats:
    """Draw the land over ``picture``; gives the mask of the pixels it covers.

    Every column is walked outwards once: the highest elevation so far tells which step a pixel
    sees, which is exact for a camera that does not tilt.
    """
    depths = np.geomspace(18, 12000, 2600)
    slopes = (np.arange(view.width) + 0.5 - view.width / 2) / view.focal
    z = np.repeat(depths[:, None], view.width, axis=1)
    x = z * slopes
    height, _, _ = terrain(x, z)
    elevation = np.where(height > 0, (height - view.eye) / z, -9.0)
    skyline = np.maximum.accumulate(elevation, axis=0)
    rows = np.arange(view.height)
    wanted = (view.horizon - rows - 0.5) / view.focal
    step = np.empty((view.height, view.width), dtype=np.int64)
    for column in range(view.width):
        step[:, column] = np.searchsorted(skyline[:, column], wanted)
    surface = np.where(wanted < 0, view.eye / np.maximum(-wanted, 1e-9), np.inf)
    covered = (step < len(depths)) & (depths[np.minimum(step, len(depths) - 1)] < surface[:, None])
    row, column = np.nonzero(covered)
    reached = step[row, column]
    pixel_z = depths[reached]
    before = np.maximum(reached - 1, 0)
    rise = elevation[reached, column] - elevation[before, column]
    part = np.where(
        (rise > 1e-9) & (elevation[before, column] > -9.0),
        (wanted[row] - elevation[before, column]) / np.maximum(rise, 1e-9),
        1.0,
    )
    pixel_z = depths[before] + (pixel_z - depths[before]) * np.clip(part, 0, 1)
    pixel_x = pixel_z * slopes[column]
    colour = lit_land(pixel_x, pixel_z, shadow)
    picture[row, column] = colour
    return covered.astype(np.float64)


def lit_land(x: Floats, z: Floats, shadow: Floats) -> Floats:
    """Colour of the land at ``x`` and ``z`` in sun, sky light, cast shadow and haze."""
    width = np.maximum(0.12, z * 0.0009)
    y, canopy, tint = terrain(x, z)
    slope_x = (terrain(x + width, z)[0] - terrain(x - width, z)[0]) / (2 * width)
    slope_z = (terrain(x, z + width)[0] - terrain(x, z - width)[0]) / (2 * width)
    up = 1 / np.sqrt(1 + slope_x**2 + slope_z**2)
    facing = (SUN[1] - SUN[0] * slope_x - SUN[2] * slope_z) * up
    in_sun = np.maximum(facing, 0) * (1 - cast_shadow(shadow, x, z))
    crest = terrain_shade(x, y, z)
    light = SUN_COLOUR * (in_sun * crest)[..., None] + SKY_COLOUR * (0.35 + 0.65 * up)[..., None]
    return hazed(ground_colour(x, y, z, up, canopy, tint) * light, np.hypot(x, z), y)


def terrain_shade(x: Floats, y: Floats, z: Floats) -> Floats:
    """How much of the sun gets past the land between it and a point."""
    lit = np.ones_like(x)
    for reach in np.geomspace(0.002, 0.12, 9):
        way = reach * z
        blocked = terrain(x + way * SUN[0], z + way * SUN[2])[0] - (y + way * SUN[1])
        lit = np.minimum(lit, smooth(blocked / way, 0.05, -0.03))
    return lit


# Things made of polygons


def box(centre: Floats, size: Floats) -> Floats:
    """Corners of a box's six faces, of shape (6, 4, 3)."""
    unit = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
    faces = []
    for axis in range(3):
        for side in (-0.5, 0.5):
            face = np.insert(unit, axis, side, axis=1)
            faces.append(centre + face * size)
    return np.array(faces)


def grid(corner: Floats, along: Floats, across: Floats, columns: int, rows: int) -> Floats:
    """Split a parallelogram into ``columns`` x ``rows`` quads, of shape (n, 4, 3)."""
    i, j = np.meshgrid(np.arange(columns), np.arange(rows))
    steps = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    s = (i.ravel()[:, None] + steps[:, 0]) / columns
    t = (j.ravel()[:, None] + steps[:, 1]) / rows
    return corner + s[..., None] * along + t[..., None] * across


def turned(points: Floats, angle: float, origin: Floats) -> Floats:
    """Turn points about the vertical through 0 by ``angle`` radians, then move them to origin."""
    cos, sin = np.cos(angle), np.sin(angle)
    x, y, z = np.moveaxis(points, -1, 0)
    return np.stack([cos * x - sin * z, y, sin * x + cos * z], axis=-1) + origin


def lit(corners: Floats, colours: Floats, shine: float = 0.0) -> Mesh:
    """Light two-sided faces by the sun and the sky; ``shine`` brightens them by themselves."""
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    middle = corners.mean(axis=1)
    away = np.sum(normal * (middle - np.array([0, EYE, 0])), axis=1, keepdims=True) > 0
    normal = np.where(away, -normal, normal)
    sun = np.maximum(normal @ SUN, 0)[:, None]
    sky = (0.55 + 0.45 * normal[:, 1])[:, None]
    return Mesh(corners, colours * (SUN_COLOUR * sun + SKY_COLOUR * sky + shine))


def varied(rng: np.random.Generator, colour: list[float], count: int, spread: float) -> Floats:
    """Give ``count`` copies of a colour, each a little lighter or darker."""
    return np.array(colour) * (1 + spread * (rng.random((count, 1)) - 0.5))


def house(rng: np.random.Generator) -> list[Mesh]:
    """A wooden house with a red roof, on a stone base."""
    origin, angle = np.array([10.5, 1.35, 50.0]), 0.36
    long, deep, wall, ridge, eave = 7.2, 5.2, 2.9, 5.3, 0.55

    def put(corners: Floats, colour: list[float], spread: float = 0.3, shine: float = 0) -> Mesh:
        return lit(
            turned(corners, angle, origin), varied(rng, colour, len(corners), spread), shine
        )

    ochre, trim = [0.36, 0.205, 0.09], [0.62, 0.58, 0.51]
    half, back = long / 2, deep / 2
    x_way, y_way, z_way = np.eye(3)
    meshes = [
        put(box(np.array([0, -0.25, 0]), np.array([long + 0.2, 0.8, deep + 0.2])), [0.3, 0.28, 0.26])
    ]
    def clad(planks: Floats) -> None:
        """Weathered boards with a dark seam below each, in the eaves' shadow at the top."""
        middle = planks.mean(axis=1)
        stain = 0.45 + 1.1 * fractal(middle[:, 0] + middle[:, 2], middle[:, 1] * 2.3, 3)
        eaves = 1 - 0.55 * smooth(middle[:, 1], wall - 0.65, wall - 0.2) * (middle[:, 1] < wall)
        colours = varied(rng, ochre, len(planks), 0.45) * (stain * eaves)[:, None]
        meshes.append(lit(turned(planks, angle, origin), colours))
        seams = planks.copy()
        seams[:, 2:] = planks[:, 1::-1] + 0.16 * (planks[:, 2:] - planks[:, 1::-1])
        seams = seams * [1.002, 1, 1.002]
        meshes.append(lit(turned(seams, angle, origin), colours * 0.35))

    for side in (back, -back):
        clad(grid(np.array([-half, 0, side]), long * x_way, wall * y_way, 18, 14))
    for side in (half, -half):
        clad(grid(np.array([side, 0, -back]), deep * z_way, wall * y_way, 12, 14))
        low = np.linspace(0, 1, 12, endpoint=False)[:, None]
        high = low + 1 / 12
        for part in np.arange(-1, 1, 0.125):
            z_low, z_high = back * (1 - low), back * (1 - high)
            corners = [(part * z_low, low), ((part + 0.125) * z_low, low),
                       ((part + 0.125) * z_high, high), (part * z_high, high)]
            across = np.full_like(low, side)
            clad(np.stack([np.hstack([across, wall + t * (ridge - wall), z]) for z, t in corners], 1))
        meshes.append(put(box(np.array([side, 3.7, 0]), np.array([0.1, 0.75, 0.75])), trim, 0.05))
        meshes.append(
            put(box(np.array([side, 3.7, 0]), np.array([0.16, 0.55, 0.55])), [0.05, 0.05, 0.06])
        )

    slope = np.array([0, ridge - wall, back])
    overhang = slope * eave / back
    for mirror in (1, -1):
        flip = np.array([1, 1, mirror])
        corner = np.array([-half - eave, wall + 0.12, -back]) - overhang
        tiles = grid(corner * flip, (long + 2 * eave) * x_way, (slope + overhang) * flip, 44, 20)
        rows = tiles.copy()
        rows[:, 2:] = tiles[:, 1::-1] + 0.22 * (tiles[:, 2:] - tiles[:, 1::-1]) + 0.02 * y_way
        meshes.append(put(rows, [0.12, 0.035, 0.028], 0.6))
        meshes.append(put(tiles, [0.30, 0.075, 0.048], 0.95))
        board = grid((corner - 0.2 * y_way) * flip, (long + 2 * eave) * x_way, 0.2 * y_way, 8, 1)
        meshes.append(put(board, trim, 0.1))
        for end in (-half - eave - 0.06, half + eave + 0.06):
            start = np.array([end, corner[1] - 0.2, corner[2]]) * flip
            meshes.append(put(grid(start, (slope + overhang) * flip, 0.2 * y_way, 24, 1), trim, 0.1))

    def opening(x: float, y: float, width: float, height: float, *, door: bool = False) -> None:
        front = -back - 0.08
        corner = np.array([x - width / 2, y, front])
        colour, glow = ([0.10, 0.17, 0.14], 0.0) if door else ([0.55, 0.36, 0.13], 0.75)
        panes = (1, 1) if door else (2, 3)
        for pane in grid(corner, width * x_way, height * y_way, *panes):
            out = pane - pane.mean(axis=0)
            out /= np.abs(out).max(axis=0) + [0, 0, 1]
            frame = put((pane + 0.13 * out)[None], trim, 0)
            glass = put((pane - 0.03 * out)[None] - 0.04 * z_way, colour, 0.5, glow)
            meshes.extend(replace(part, nearer=1.0) for part in (frame, glass))

    opening(-2.2, 0.95, 1.15, 1.3)
    opening(2.2, 0.95, 1.15, 1.3)
    opening(0.0, 0.1, 1.0, 2.1, door=True)
    chimney = box(np.array([1.7, 5.2, 0.7]), np.array([0.75, 1.9, 0.75]))
    meshes.append(put(chimney, [0.40, 0.24, 0.18], 0.2))
    meshes.append(put(box(np.array([1.7, 6.2, 0.7]), np.array([0.95, 0.16, 0.95])), [0.3, 0.28, 0.27]))
    return meshes


def jetty(rng: np.random.Generator) -> list[Mesh]:
    """A plank jetty from the shore into the lake."""
    start, end = np.array([5.2, 0.62, 45.0]), np.array([1.2, 0.62, 30.0])
    way = end - start
    side = np.cross([0, 1, 0], way / np.linalg.norm(way)) * 0.85
    planks = grid(start - side, way, 2 * side, 62, 1)
    planks += (planks.mean(axis=1, keepdims=True) - planks) * 0.06
    wood = [0.36, 0.28, 0.20]
    meshes = [lit(planks, varied(rng, wood, len(planks), 0.5))]
    edge = grid(start - side - [0, 0.18, 0], way, np.array([0, 0.18, 0]), 20, 1)
    far_edge = grid(start + side - [0, 0.18, 0], way, np.array([0, 0.18, 0]), 20, 1)
    meshes += [lit(part, varied(rng, wood, len(part), 0.3)) for part in (edge, far_edge)]
    front = grid(end - side - [0, 0.18, 0], 2 * side, np.array([0, 0.18, 0]), 1, 1)
    meshes.append(lit(front, varied(rng, wood, 1, 0.1)))
    for share in np.linspace(0.05, 1, 6):
        for hand in (-1, 1):
            tall = 1.25 if share > 0.9 else 0.05
            foot = start + share * way + hand * side
            post = box(foot + [0, tall / 2 - 0.5, 0], np.array([0.17, 1.3 + tall, 0.17]))
            meshes.append(lit(post, varied(rng, [0.24, 0.18, 0.13], 6, 0.2)))
    return meshes


def boat(rng: np.random.Generator) -> list[Mesh]:
    """A rowing boat, painted, with thwarts and a pair of oars."""
    origin, angle = np.array([-3.1, 0.0, 15.5]), 2.72
    stations, strakes = 26, 7

    def hull(s: Floats, t: Floats, inset: float) -> Floats:
        """Point on the hull: s from stern (0) to bow (1), t from one rail over the keel (-1 to 1)."""
        beam = (0.66 - inset) * np.sqrt(np.clip(1 - np.abs(1.55 * s - 0.55) ** 2.4, 0, 1))
        sheer = 0.46 + 0.30 * np.abs(s - 0.35) ** 2 * 2
        keel = -0.10 + 0.42 * np.maximum(s - 0.72, 0) ** 1.5 + inset
        height = keel + (sheer - keel) * np.abs(t) ** 1.8
        return np.stack([3.9 * (s - 0.5), height, beam * np.sign(t) * np.abs(t) ** 0.62], axis=-1)

    def shell(inset: float) -> tuple[Floats, Floats]:
        i, j = np.meshgrid(np.arange(stations), np.arange(2 * strakes))
        steps = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
        s = (i.ravel()[:, None] + steps[:, 0]) / stations
        t = (j.ravel()[:, None] + steps[:, 1]) / strakes - 1
        return hull(s, t, inset), j.ravel()

    def put(corners: Floats, colours: Floats) -> Mesh:
        return lit(turned(corners, angle, origin), colours)

    outside, strake = shell(0.0)
    top = (strake == 0) | (strake == 2 * strakes - 1)
    paint = np.where(top[:, None], [0.72, 0.66, 0.54], [0.07, 0.23, 0.30])
    paint = paint * (1 + 0.12 * (rng.random((len(paint), 1)) - 0.5))
    inside, strake = shell(0.05)
    tone = np.array([0.40, 0.24, 0.12]) * (0.55 + 0.45 * np.abs(strake - strakes + 0.5) / strakes)[:, None]
    meshes = [put(outside, paint), put(inside, tone)]
    ribs = np.linspace(-1, 1, 2 * strakes + 1)
    stern = hull(np.zeros_like(ribs), ribs, 0.0)
    deck = stern * [1, 0, 1] + [0, stern[0, 1], 0]
    transom = np.stack([stern[:-1], stern[1:], deck[1:], deck[:-1]], axis=1)
    meshes.append(put(transom, varied(rng, [0.46, 0.29, 0.15], len(transom), 0.08)))
    for s in (0.12, 0.42, 0.70):
        left, right = hull(np.array([s, s]), np.array([-0.75, 0.75]), 0.03)
        across = right - left
        seat = grid(left, across, np.array([0.3, 0, 0]), 1, 3)
        meshes.append(put(seat, varied(rng, [0.50, 0.33, 0.17], 3, 0.25)))
        riser = grid(left - [0, 0.05, 0], across, np.array([0, 0.05, 0]), 1, 1)
        meshes.append(put(riser, varied(rng, [0.34, 0.22, 0.12], 1, 0.1)))
    for hand in (-1, 1):
        rail = hull(np.linspace(0, 1, 31), np.full(31, float(hand)), 0.0)
        rail = np.stack([rail[:-1], rail[1:], rail[1:] + [0, 0.05, 0], rail[:-1] + [0, 0.05, 0]], 1)
        meshes.append(put(rail, varied(rng, [0.55, 0.38, 0.20], 30, 0.2)))
        oar = grid(np.array([-1.35, 0.50, 0.28 * hand]), np.array([2.6, 0.12, 0.05]),
                   np.array([0, 0.02, 0.07]), 12, 1)
        meshes.append(put(oar, varied(rng, [0.62, 0.48, 0.28], 12, 0.1)))
    return meshes


@dataclass(frozen=True)
class Tree:
    """Where a broad-leaved tree stands, how large it is, and the colour of its leaves."""

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


def broadleaf(rng: np.random.Generator, tree: Tree) -> list[Mesh]:
    """A trunk and a crown of lobes of leaves, lit as a whole and darker within."""
    ground = float(shore_height(np.array([tree.x]), np.array([tree.z]))[0])
    foot = np.array([tree.x, ground - 0.2, tree.z])
    trunk = [
        lit(
            box(foot + [0.1 * np.sin(level * 1.7), 0.5 * (level + 0.5), 0],
                np.array([0.5 - 0.02 * level, 0.55, 0.5 - 0.02 * level])),
            varied(rng, [0.16, 0.12, 0.09], 6, 0.4),
        )
        for level in range(int(tree.tall * 1.1))
    ]
    crown = foot + [0, tree.tall * 0.62, 0]
    half = np.array([tree.wide, tree.tall * 0.40, tree.wide])
    lobes = 46
    way = rng.normal(size=(lobes, 3))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    lobe = way * half * (0.35 + 0.55 * rng.random((lobes, 1)) ** 0.6)
    lobe[:, [0, 2]] *= (1.0 - 0.35 * np.clip(lobe[:, 1:2] / half[1], -0.6, 1))
    radius = tree.wide * (0.22 + 0.20 * rng.random(lobes))
    leaves = 760
    out = rng.normal(size=(lobes, leaves, 3))
    out /= np.linalg.norm(out, axis=2, keepdims=True)
    spread = 0.55 + 0.5 * rng.random((lobes, leaves, 1)) ** 0.5
    place = (lobe[:, None] + out * spread * radius[:, None, None]).reshape(-1, 3)
    whole = place / half
    inside = np.linalg.norm(whole, axis=1)
    normal = 0.75 * out.reshape(-1, 3) + 0.55 * whole / np.maximum(inside[:, None], 1e-6)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    sun = np.clip(normal @ SUN * 1.0 + 0.02, 0, 1) * smooth(inside, 0.35, 0.95)
    sky = (0.30 + 0.40 * (normal[:, 1] + 1) / 2) * smooth(inside, 0.15, 0.9)
    colour = varied(rng, list(tree.leaf), len(place), 0.95)
    colour = colour * (SUN_COLOUR * (1.25 * sun[:, None]) + SKY_COLOUR * sky[:, None] + 0.02)
    flat = rng.normal(size=(len(place), 2, 3)) * 0.10
    corners = np.stack(
        [place - flat[:, 0], place - flat[:, 1] * 0.6, place + flat[:, 0], place + flat[:, 1] * 0.6], 1
    )
    return [*trunk, Mesh(corners + crown, colour)]


def blades(foot: Floats, tall: Floats, lean: Floats, width: float, colour: Floats) -> Mesh:
    """Grass or reed blades of two bent segments each, brighter towards the tip."""
    up = np.stack([lean[:, 0], np.ones(len(foot)), lean[:, 1]], axis=1) * tall[:, None]
    knee = foot + 0.55 * up * [0.6, 1, 0.6]
    tip = foot + up * [1.6, 1, 1.6]
    side = np.array([width / 2, 0, 0])
    low = np.stack([foot - side, foot + side, knee + 0.8 * side, knee - 0.8 * side], axis=1)
    high = np.stack([knee - 0.8 * side, knee + 0.8 * side, tip, tip], axis=1)
    light = SUN_COLOUR * 0.55 + SKY_COLOUR * 0.5
    return Mesh(
        np.concatenate([low, high]), np.concatenate([colour * light * 0.55, colour * light * 1.1])
    )


def meadow_grass(rng: np.random.Generator) -> list[Mesh]:
    """Tufts along the shore and around the house."""
    x, z = rng.uniform(-4, 40, 110000), rng.uniform(34, 66, 110000)
    y = shore_height(x, z)
    near_house = np.hypot(x - 10.5, z - 50) < 3.7
    tufts = noise(x / 1.6, z / 1.6 + 7) > 0.38
    keep = (y > 0.12) & tufts & ~near_house
    foot = np.stack([x, y - 0.05, z], axis=1)[keep]
    count = len(foot)
    tall = 0.14 + 0.34 * rng.random(count) * (1 + 1.0 * (foot[:, 1] < 0.8))
    green = varied(rng, [0.20, 0.24, 0.05], count, 0.7)
    dry = (rng.random((count, 1)) > 0.62) * 1.0
    green = green * (1 - dry) + varied(rng, [0.46, 0.36, 0.13], count, 0.5) * dry
    return [blades(foot, tall, rng.normal(0.1, 0.22, (count, 2)), 0.045, green)]


def reeds(rng: np.random.Generator) -> list[Mesh]:
    """Reeds and cat-tails in the corners nearest to the camera, taller towards the edges."""
    meshes = []
    for centre, spread, count in ((-4.6, 0.85, 330), (5.0, 0.75, 230)):
        x = centre + rng.normal(0, spread, count)
        z = rng.uniform(7.4, 10.5, count)
        foot = np.stack([x, np.full(count, -0.1), z], axis=1)
        outward = np.clip((np.abs(x) - 2.6) / 2.6, 0.15, 1.1)
        tall = (0.5 + 1.35 * rng.random(count)) * outward * 1.1
        colour = varied(rng, [0.20, 0.235, 0.06], count, 0.9)
        gold = (rng.random((count, 1)) > 0.6) * 1.0
        colour = colour * (1 - gold) + varied(rng, [0.46, 0.34, 0.12], count, 0.5) * gold
        meshes.append(blades(foot, tall, rng.normal(0.06, 0.13, (count, 2)), 0.035, colour))
        heads = (rng.random(count) > 0.82) & (tall > 0.75)
        top = foot[heads] + np.stack([0 * tall, tall * 0.95, 0 * tall], axis=1)[heads]
        brown = varied(rng, [0.10, 0.055, 0.028], int(heads.sum()), 0.3)
        stalk = blades(foot[heads], tall[heads] * 0.97, np.zeros((len(top), 2)), 0.03, brown * 2)
        cat_tails = np.concatenate(
            [box(place, np.array([0.042, 0.20, 0.042]))[[2, 4, 5]] for place in top]
        )
        meshes += [stalk, lit(cat_tails, np.repeat(brown, 3, axis=0))]
    return meshes


def draw_meshes(view: View, picture: Floats, meshes: list[Mesh]) -> tuple[Floats, Floats]:
    """Draw polygons, farthest first, over ``picture``; gives the picture and the mask drawn."""
    encoded = np.sqrt(np.clip(picture / 4, 0, 1))
    canvas = Image.fromarray((encoded * 255 + 0.5).astype(np.uint8))
    mask = Image.new("L", canvas.size)
    draw, draw_mask = ImageDraw.Draw(canvas), ImageDraw.Draw(mask)
    corners = np.concatenate([mesh.corners for mesh in meshes])
    colours = np.concatenate([mesh.colours for mesh in meshes])
    nearer = np.concatenate([np.full(len(mesh.corners), mesh.nearer) for mesh in meshes])
    if view.eye < 0:
        keep = corners[..., 1].max(axis=1) > 0
        corners, colours, nearer = corners[keep], colours[keep], nearer[keep]
        corners = np.concatenate([corners[..., :1], np.maximum(corners[..., 1:2], 0), corners[..., 2:]], 2)
    eye = np.array([0, view.eye, 0])
    depth = np.linalg.norm(corners.mean(axis=1) - eye, axis=1) - nearer
    order = np.argsort(-depth)
    depth_of = corners[..., 2].mean(axis=1)
    colours = hazed(colours, depth_of, corners[..., 1].mean(axis=1))
    paint = (np.sqrt(np.clip(colours / 4, 0, 1)) * 255 + 0.5).astype(int)
    places = view.project(corners)
    for index in order:
        outline = [(float(c), float(r)) for c, r in places[index]]
        draw.polygon(outline, fill=tuple(int(v) for v in paint[index]))
        draw_mask.polygon(outline, fill=255)
    drawn = np.asarray(mask, dtype=np.float64) / 255
    painted = (np.asarray(canvas, dtype=np.float64) / 255) ** 2 * 4
    return np.where(drawn[..., None] > 0, painted, picture), drawn


SHADOW_CELL = 0.08
SHADOW_ORIGIN = (-15.0, 25.0)
SHADOW_CELLS = 900


def shadow_map(meshes: list[Mesh]) -> Floats:
    """Cast polygons along the sun onto the headland; a map over x and z of how dark it is."""
    chart = Image.new("L", (SHADOW_CELLS, SHADOW_CELLS))
    draw = ImageDraw.Draw(chart)
    for mesh in meshes:
        drop = (mesh.corners[..., 1] - 1.3) / SUN[1]
        x = (mesh.corners[..., 0] - drop * SUN[0] - SHADOW_ORIGIN[0]) / SHADOW_CELL
        z = (mesh.corners[..., 2] - drop * SUN[2] - SHADOW_ORIGIN[1]) / SHADOW_CELL
        for outline in np.stack([x, z], axis=-1)[drop.min(axis=1) > -1]:
            draw.polygon([(float(a), float(b)) for a, b in outline], fill=255)
    return np.asarray(chart.filter(ImageFilter.GaussianBlur(2.5)), dtype=np.float64) / 255


def cast_shadow(shadow: Floats, x: Floats, z: Floats) -> Floats:
    """Look ground points up in the shadow map; 0 outside it."""
    i = ((x - SHADOW_ORIGIN[0]) / SHADOW_CELL).astype(np.int64)
    j = ((z - SHADOW_ORIGIN[1]) / SHADOW_CELL).astype(np.int64)
    known = (i >= 0) & (j >= 0) & (i < SHADOW_CELLS) & (j < SHADOW_CELLS)
    result: Floats = np.where(known, shadow[j * known, i * known], 0.0)
    return result


# Sky


def cloud_density(points: Floats, octaves: int) -> Floats:
    """How thick the cloud is at points of shape (n, 3): piles on a flat base."""
    rise = (points[:, 1] - 1150) / 1100
    cover = fractal3(points * [1 / 3600, 0, 1 / 3600] + [2.3, 0.4, 5.1], 2)
    shape = fractal3(points / 950 + 3.7, octaves)
    profile = smooth(rise, 0, 0.10) * (1 - 0.75 * smooth(rise, 0.1, 1))
    return np.clip((shape - 0.50) * 1.5 + (cover - 0.485) * 2.2 - 0.45 * rise, 0, 1) * profile * 3


def draw_sky(view: View) -> Floats:
    """The sky with sunlit cumulus, marched at a quarter of the picture's pixels."""
    width, height = view.width // 4, int(view.horizon / 4) + 1
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    ways = np.stack(
        [
            (columns * 4 - view.width / 2) / view.focal,
            np.maximum((view.horizon - rows * 4) / view.focal, 0.001),
            np.ones_like(columns),
        ],
        axis=-1,
    ).reshape(-1, 3)
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    high = ways[:, 1]
    warm = smooth(high, 0.30, 0.0)[:, None] ** 1.6
    blue = np.array([0.11, 0.26, 0.60]) * (1 - 0.45 * high[:, None])
    sky = blue * (1 - warm) + np.array([0.98, 0.76, 0.56]) * warm
    glow = np.clip(ways @ SUN, -1, 1)[:, None]
    sky = sky * (1.0 + 0.25 * glow)

    light, clear = np.zeros((len(ways), 3)), np.ones(len(ways))
    steps = 56
    jitter = np.random.default_rng(SEED + 1).random(len(ways))
    near, far = 1150 / np.maximum(high, 0.02), 2250 / np.maximum(high, 0.02)
    near, far = np.minimum(near, 26000), np.minimum(far, 30000)
    stride = (far - near) / steps
    for step in range(steps):
        reach = near + (step + jitter) * stride
        alive = np.nonzero((clear > 0.02) & (reach < 30000))[0]
        points = ways[alive] * reach[alive, None]
        density = cloud_density(points, 5)
        inside = np.nonzero(density > 0)[0]
        alive, points, density = alive[inside], points[inside], density[inside]
        shade = np.zeros(len(points))
        for way in (70, 170, 340, 620):
            shade += cloud_density(points + SUN * way, 3) * way * 0.9
        sun = np.exp(-shade / 330) + 0.22 * np.exp(-shade / 1500)
        rise = np.clip((points[:, 1] - 1150) / 1100, 0, 1)[:, None]
        glowing = np.array([1.40, 1.02, 0.72]) * sun[:, None]
        glowing += np.array([0.33, 0.36, 0.47]) * (0.62 + 0.5 * rise)
        fade = np.exp(-reach[alive] / 15000)[:, None]
        glowing = glowing * fade + sky[alive] * (1 - fade)
        opaque = 1 - np.exp(-density * np.minimum(stride[alive], 160) / 75)
        light[alive] += (clear[alive] * opaque)[:, None] * glowing
        clear[alive] *= 1 - opaque
    sky = (light + clear[:, None] * sky).reshape(height, width, 3)
    encoded = np.sqrt(np.clip(sky / 4, 0, 1))
    layers = [
        Image.fromarray(encoded[..., channel].astype(np.float32)).resize(
            (width * 4, height * 4), Image.Resampling.BICUBIC
        )
        for channel in range(3)
    ]
    full = np.stack([np.asarray(layer, dtype=np.float64) for layer in layers], axis=-1) ** 2 * 4
    picture = np.zeros((view.height, view.width, 3)) + HAZE_COLOUR
    rows_drawn = min(len(full), view.height)
    picture[:rows_drawn] = full[:rows_drawn, : view.width]
    return picture


# Water


def draw_water(view: View, mirrored: Floats) -> Floats:
    """The lake: what the mirror world shows, bent by ripples, over the dark of the water."""
    first = int(np.ceil(view.horizon))
    columns, rows = np.meshgrid(
        np.arange(view.width) + 0.5, np.arange(first, view.height) + 0.5
    )
    down = np.maximum((rows - view.horizon) / view.focal, 1e-4)
    z = EYE / down
    x = z * (columns - view.width / 2) / view.focal
    breeze = 0.35 + 1.1 * smooth(fractal(x / 26 + 8, z / 70, 3), 0.44, 0.66)
    slope_x, slope_z = np.zeros_like(x), np.zeros_like(x)
    for wave, strength in ((3.1, 0.007), (1.25, 0.009), (0.5, 0.010), (0.21, 0.008)):
        seen = np.clip(wave / (z * z / (EYE * view.focal) * 2.2), 0, 1)
        u, v = x / (1.7 * wave), (z + 0.12 * x) / wave
        step = 0.18
        slope_x += strength * seen * (noise(u + step, v) - noise(u - step, v)) / step
        slope_z += strength * seen * (noise(u, v + step) - noise(u, v - step)) / step
    slope_x, slope_z = slope_x * breeze, slope_z * breeze
    blur = 0.010 * breeze * smooth(z, 20, 160)
    result = np.zeros((*x.shape, 3))
    taps = np.linspace(-1, 1.6, 7)
    for tap in taps:
        lift = down + 2 * slope_z + blur * tap
        lift = np.abs(lift)
        row = np.clip(view.horizon - lift * view.focal, 0, view.height - 1).astype(np.int64)
        column = columns + 2 * slope_x * down * view.focal * 1.2
        column = np.clip(column, 0, view.width - 1).astype(np.int64)
        result += mirrored[row, column] / len(taps)
    tilt = np.clip(np.sin(np.arctan(down)) + slope_z, 0.004, 1)
    mirror = (0.02 + 0.98 * (1 - tilt) ** 5)[..., None]
    deep = np.array([0.020, 0.055, 0.062]) * (0.8 + 0.4 * noise(x / 5, z / 9))[..., None]
    water = result * mirror * 0.94 + deep * (1 - mirror) * 1.3
    return hazed(water, z, np.zeros_like(z))


# Camera


def blurred(picture: Floats, radius: float) -> Floats:
    """Gaussian blur of a linear picture, by way of 32-bit layers."""
    layers = [
        np.asarray(
            Image.fromarray((np.sqrt(np.clip(picture[..., c] / 4, 0, 1)) * 255).astype(np.uint8))
            .filter(ImageFilter.GaussianBlur(radius)),
            dtype=np.float64,
        )
        for c in range(picture.shape[-1])
    ]
    return (np.stack(layers, axis=-1) / 255) ** 2 * 4


def developed(picture: Floats, rng: np.random.Generator) -> Image.Image:
    """Bloom, lens, film curve and grain; a linear picture in, an 8-bit image out."""
    rows, columns = picture.shape[0] // SUPERSAMPLING, picture.shape[1] // SUPERSAMPLING
    small = picture.reshape(rows, SUPERSAMPLING, columns, SUPERSAMPLING, 3).mean(axis=(1, 3))
    small = 0.90 * small + 0.10 * blurred(small, 14)
    small = 0.72 * small + 0.28 * blurred(small, 0.9)
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    small = small * (1 - 0.16 * (x * x + y * y))[..., None] * [1.03, 1.0, 0.95] * 1.12
    film = small * (2.51 * small + 0.03) / (small * (2.43 * small + 0.59) + 0.14)
    film = np.clip(film, 0, 1) ** (1 / 2.2)
    grey = film.mean(axis=-1, keepdims=True)
    film = grey + (film - grey) * 1.0
    grain = rng.normal(size=(rows, columns, 1)) * 0.8 + rng.normal(size=(rows, columns, 3)) * 0.35
    film = film + grain * 0.011 * (1.15 - grey)
    return Image.fromarray((np.clip(film, 0, 1) * 255 + 0.5).astype(np.uint8))


def lake() -> Image.Image:
    """Paint the whole picture."""
    rng = np.random.default_rng(SEED)
    standing = house(rng)
    for tree in TREES:
        standing += broadleaf(rng, tree)
    shadow = shadow_map(standing)
    far = [*standing, *jetty(rng), *meadow_grass(rng)]
    near = boat(rng)
    front = reeds(rng)

    size = (WIDTH * SUPERSAMPLING, HEIGHT * SUPERSAMPLING)
    above, below = View(EYE, *size), View(-EYE, *size)
    sky = draw_sky(above)

    mirrored = sky.copy()
    draw_land(below, mirrored, shadow)
    mirrored, _ = draw_meshes(below, mirrored, [*far, *near, *front])

    picture = sky.copy()
    first = int(np.ceil(above.horizon))
    picture[first:] = draw_water(above, mirrored)
    draw_land(above, picture, shadow)
    picture, _ = draw_meshes(above, picture, [*far, *near])
    reed_layer, reed_mask = draw_meshes(above, picture, front)
    soft = blurred(reed_mask[..., None], 2.2)
    picture = picture * (1 - soft) + blurred(reed_layer, 2.2) * soft
    return developed(picture, rng)


def main() -> None:
    """Write ``lake.jpg`` beside this file."""
    target = Path(__file__).with_name("lake.jpg")
    lake().save(target, quality=86, optimize=True, progressive=True)


if __name__ == "__main__":
    main()
