"""Every pixel layout that photos come in, to 8-bit sRGB."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms

_SIXTEEN_BIT_GREY = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_GREY = frozenset({"1", "L", "LA"})
_VIA_RGBA = frozenset({"P", "PA", "RGBA", "RGBa"})
_COLOUR = frozenset({"RGB", "RGBX", "YCbCr", "LAB"})


class UndefinedRangeError(Exception):
    """An image's pixels, such as floats, do not say which value is white.

    Attributes:
        mode: Pillow's name of the kind of pixels.
    """

    def __init__(self, mode: str) -> None:
        super().__init__(mode)
        self.mode = mode


def in_srgb(image: Image.Image) -> Image.Image:
    """Convert an image to sRGB, by its embedded colour profile when that is usable.

    Args:
        image: A loaded image of any mode that Pillow has for photos.

    Returns:
        An image of mode RGB, or RGBA where some pixel is not opaque.

    Raises:
        UndefinedRangeError: Its pixels are of a kind without a defined range.
    """
    profile = image.info.get("icc_profile")
    if image.mode in _SIXTEEN_BIT_GREY:
        image = _to_eight_bits(image)
    alpha = _alpha(image)
    srgb = _by_profile(_without_alpha(image), profile)
    if alpha is not None:
        srgb.putalpha(alpha)
    return srgb


def _to_eight_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    # The high byte, as Pillow takes it of 16-bit colour.
    grey = Image.fromarray((values >> 8).astype(np.uint8))
    transparent = image.info.get("transparency")
    if transparent is None:
        return grey
    opaque = np.where(values == transparent, 0, 255).astype(np.uint8)
    return Image.merge("LA", (grey, Image.fromarray(opaque)))


def _alpha(image: Image.Image) -> Image.Image | None:
    """Return the alpha channel (mode L) when it does something."""
    if not image.has_transparency_data:
        return None
    alpha = _as_mode(image, "RGBA").getchannel("A")
    least_opaque = alpha.getextrema()[0]
    return None if least_opaque == 255 else alpha  # noqa: PLR2004 - 8 bits


def _without_alpha(image: Image.Image) -> Image.Image:
    """Return the colours alone, in a mode that colour profiles are made for."""
    if image.mode == "CMYK":
        return image
    if image.mode in _GREY:
        return _as_mode(image, "L")
    if image.mode in _VIA_RGBA:
        return _as_mode(image, "RGBA").convert("RGB")
    if image.mode in _COLOUR:
        return _as_mode(image, "RGB")
    raise UndefinedRangeError(image.mode)


def _by_profile(image: Image.Image, profile: object) -> Image.Image:
    if isinstance(profile, bytes):
        try:
            converted = ImageCms.profileToProfile(
                image, io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except ImageCms.PyCMSError:
            # Damaged, or for another kind of pixels: it says nothing about these ones, and
            # viewers ignore it too.
            converted = None
        if converted is not None:
            return converted
    return _as_mode(image, "RGB")


def _as_mode(image: Image.Image, mode: str) -> Image.Image:
    # Pillow copies even where nothing is to be converted: 200 MB for 50 megapixels.
    return image if image.mode == mode else image.convert(mode)
