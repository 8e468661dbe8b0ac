"""Things made of small flat-coloured polygons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from lakeside.light import SKY_COLOUR, SUN, SUN_COLOUR, decoded, encoded, hazed
from lakeside.view import EYE, View

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakeside.noise import Floats

WAYS: Floats = np.eye(3)
"""Unit steps along x, y and z."""


@dataclass(frozen=True)
class Mesh:
    """Lit polygons.

    Attributes:
        corners: Shape (n, corners, 3).
        colours: Shape (n, 3).
        nearer: How many metres nearer than they are they count when the order of drawing is
            found, for what lies flat on something else.
    """

    corners: Floats
    colours: Floats
    nearer: float = 0.0


def draw_meshes(view: View, picture: Floats, meshes: Sequence[Mesh]) -> tuple[Floats, Floats]:
    """Draw polygons, farthest first.

    Returns:
        The picture, and the mask of the pixels drawn.
    """
    corners = np.concatenate([mesh.corners for mesh in meshes])
    colours = np.concatenate([mesh.colours for mesh in meshes])
    nearer = np.concatenate([np.full(len(mesh.corners), mesh.nearer) for mesh in meshes])
    if view.eye < 0:
        dry = corners[..., 1].max(axis=1) > 0
        corners, colours, nearer = corners[dry], colours[dry], nearer[dry]
        corners[..., 1] = np.maximum(corners[..., 1], 0)
    middle = corners.mean(axis=1)
    distance = np.linalg.norm(middle - view.eye * WAYS[1], axis=1) - nearer
    paint = encoded(hazed(colours, middle[:, 2], middle[:, 1]))
    places = view.project(corners)
    canvas = Image.fromarray(encoded(picture))
    mask = Image.new("L", canvas.size)
    draw, draw_mask = ImageDraw.Draw(canvas), ImageDraw.Draw(mask)
    for index in np.argsort(-distance, kind="stable"):
        outline = places[index].ravel().tolist()
        red, green, blue = paint[index].tolist()
        draw.polygon(outline, fill=(red, green, blue))
        draw_mask.polygon(outline, fill=255)
    drawn = np.asarray(mask, dtype=np.float64) / 255
    return np.where(drawn[..., None] > 0, decoded(np.asarray(canvas)), picture), drawn


def lit(corners: Floats, colours: Floats, shine: float = 0.0) -> Mesh:
    """Light two-sided faces by the sun and the sky; ``shine`` brightens them by themselves."""
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    outlook = corners.mean(axis=1) - EYE * WAYS[1]
    away = np.sum(normal * outlook, axis=1, keepdims=True) > 0
    normal = np.where(away, -normal, normal)
    sun = np.maximum(normal @ SUN, 0)[:, None]
    sky = (0.55 + 0.45 * normal[:, 1])[:, None]
    return Mesh(corners, colours * (SUN_COLOUR * sun + SKY_COLOUR * sky + shine))


def varied(
    rng: np.random.Generator, colour: tuple[float, float, float], count: int, spread: float
) -> Floats:
    """Give ``count`` copies of a colour, each a little lighter or darker."""
    return np.array(colour) * (1 + spread * (rng.random((count, 1)) - 0.5))


def box(centre: Floats | tuple[float, ...], size: tuple[float, float, float]) -> Floats:
    """Give the corners of a box's six faces, of shape (6, 4, 3)."""
    unit = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
    faces = [np.insert(unit, axis, side, axis=1) for axis in range(3) for side in (-0.5, 0.5)]
    return np.array(centre) + np.array(faces) * size


def grid(corner: Floats, along: Floats, across: Floats, columns: int, rows: int) -> Floats:
    """Split a parallelogram into ``columns`` x ``rows`` quads, of shape (n, 4, 3)."""
    s, t = patch(columns, rows)
    return corner + s[..., None] * along + t[..., None] * across


def patch(columns: int, rows: int) -> tuple[Floats, Floats]:
    """Split the unit square into quads; gives each corner's two coordinates, of shape (n, 4)."""
    i, j = np.meshgrid(np.arange(columns), np.arange(rows))
    s = (i.ravel()[:, None] + np.array([0, 1, 1, 0])) / columns
    t = (j.ravel()[:, None] + np.array([0, 0, 1, 1])) / rows
    return s, t


def turned(points: Floats, angle: float, origin: Floats) -> Floats:
    """Turn points about the vertical through 0 by ``angle`` radians, then move them to origin."""
    cos, sin = np.cos(angle), np.sin(angle)
    turn: Floats = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    placed: Floats = points @ turn + origin
    return placed
