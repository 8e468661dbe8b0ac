"""Damaged picture files of every format: an image or an error about the input, and no memory."""

from __future__ import annotations

import io
import random
import resource

import numpy as np
import pillow_heif
import pytest
from abuse_counts import FACTOR, SEED
from PIL import Image

from handler.contract.errors import InputError
from handler.inputs.decode import FORMATS, decode_image

MAX_PIXELS = 64 * 64
TRIES_PER_FORMAT = 50 * FACTOR
MEMORY_KIB = 256 * 1024


def mutated(file: bytes, rng: random.Random) -> bytes:
    """Change bytes, then perhaps repeat, remove or cut off a piece."""
    data = bytearray(file)
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    start, length = rng.randrange(len(data)), rng.randint(1, 64)
    match rng.randrange(4):
        case 0:
            data[start:start] = data[start : start + length] * rng.randint(1, 50)
        case 1:
            del data[start : start + length]
        case 2:
            del data[start:]
    return bytes(data)


@pytest.mark.timeout(300 * FACTOR)
@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.fault(
    "A picture file is damaged",
    "an image or an input error; bounded memory",
)
def test_mutated_picture_is_an_image_or_an_input_error(image_format):
    rng = random.Random(f"{SEED} {image_format}")
    pixels = np.frombuffer(rng.randbytes(24 * 32 * 3), np.uint8).reshape(24, 32, 3)
    pillow_heif.register_heif_opener()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, image_format)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(TRIES_PER_FORMAT):
        try:
            image = decode_image("photo", mutated(buffer.getvalue(), rng), max_pixels=MAX_PIXELS)
        except InputError:
            continue
        assert image.pixels.shape[0] * image.pixels.shape[1] <= MAX_PIXELS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY_KIB
