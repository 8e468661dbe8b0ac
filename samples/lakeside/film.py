"""What the lens and the film make of the light."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

from lakeside.light import decoded, encoded

if TYPE_CHECKING:
    from lakeside.noise import Floats

WARMTH = np.array([1.03, 1.0, 0.95])
EXPOSURE = 1.12


def developed(picture: Floats, supersampling: int, rng: np.random.Generator) -> Image.Image:
    """Turn light into a photo: glow, a soft lens, dark corners, a film's curve and its grain."""
    rows, columns = picture.shape[0] // supersampling, picture.shape[1] // supersampling
    blocks = picture.reshape(rows, supersampling, columns, supersampling, 3)
    light = blocks.mean(axis=(1, 3))
    light = 0.90 * light + 0.10 * blurred(light, 14)
    light = 0.72 * light + 0.28 * blurred(light, 0.9)
    y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    light = light * (1 - 0.16 * (x * x + y * y))[..., None] * WARMTH * EXPOSURE
    tone = light * (2.5 * light + 0.03) / (light * (2.4 * light + 0.6) + 0.14)
    print_ = np.clip(tone, 0, 1) ** (1 / 2.2)
    grain = 0.8 * rng.normal(size=(rows, columns, 1)) + 0.35 * rng.normal(size=(rows, columns, 3))
    print_ += 0.011 * grain * (1.15 - print_.mean(axis=-1, keepdims=True))
    return Image.fromarray((np.clip(print_, 0, 1) * 255 + 0.5).astype(np.uint8))


def blurred(picture: Floats, radius: float) -> Floats:
    """Blur light by a Gaussian of ``radius`` pixels."""
    soft = Image.fromarray(encoded(picture)).filter(ImageFilter.GaussianBlur(radius))
    return decoded(np.asarray(soft))
