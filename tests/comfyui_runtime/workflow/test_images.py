from __future__ import annotations

import numpy as np

from comfyui_runtime.workflow.images import PixelImage


def test_equal_pictures_have_equal_digests():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert PixelImage(pixels).digest == PixelImage(pixels.copy()).digest
    assert PixelImage(pixels).digest == PixelImage(np.asfortranarray(pixels)).digest


def test_pictures_of_other_pixels_or_another_shape_have_other_digests():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    digests = {
        PixelImage(pixels).digest,
        PixelImage(255 - pixels).digest,
        PixelImage(pixels.reshape(4, 2, 3)).digest,
    }
    assert len(digests) == 3


def test_digest_of_the_file_stands_for_the_pixels_that_follow_from_it():
    pixels = np.zeros((2, 2, 3), dtype=np.uint8)
    assert PixelImage(pixels, source_digest="abc").digest == "abc"
