"""Encoded bytes from outside to pixels: upright, in sRGB, and never more than allowed."""

from __future__ import annotations

import hashlib
import io
import re
import struct
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from comfyui_runtime.workflow.images import PixelImage
from handler.contract.errors import InputError, InputTooLargeError, NotAnImageError
from handler.inputs.colours import UndefinedRangeError, in_srgb
from handler.inputs.jpeg_scans import count_jpeg_scans

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMATS = tuple(
    plugin.format
    for plugin in (
        JpegImageFile,
        PngImageFile,
        WebPImageFile,
        AvifImageFile,
        GifImageFile,
        BmpImageFile,
        TiffImageFile,
    )
)
"""Pillow's names of the formats that are read; their plugins, and no others, see the bytes."""
MAX_JPEG_SCANS = 100
"""libtiff's limit for the same purpose; cameras and encoders write about ten."""

_UPRIGHT_BY_ORIENTATION = {  # EXIF 2.3, tag 274
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PILLOWS_WARNINGS = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"})


def decode_image(name: str, data: bytes, *, max_pixels: int) -> PixelImage:
    """Decode the first frame of an image file; its content alone says what it is.

    Args:
        name: The image's name in the event, for messages.
        data: The file.
        max_pixels: Most pixels (width times height) it may have, read from its header before
            anything is decoded.

    Returns:
        RGB, or RGBA where some pixel is not opaque.

    Raises:
        InputTooLargeError: It has more pixels than allowed.
        NotAnImageError: It is not a whole image of a supported format.
    """
    _silence_pillow()
    with _as_verdict_on(name, data, max_pixels):
        if count_jpeg_scans(data, stop_after=MAX_JPEG_SCANS) > MAX_JPEG_SCANS:
            raise NotAnImageError(
                f"Image {name!r} is a JPEG file of more than {MAX_JPEG_SCANS} scans, which no "
                "camera writes. Save it anew.",
                image=name,
            )
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise _too_many_pixels(name, max_pixels, width=image.width, height=image.height)
            image.load()
            pixels = np.asarray(in_srgb(_upright(image)))
            return PixelImage(pixels, hashlib.sha256(data).hexdigest())


def _silence_pillow() -> None:
    # Pillow warns about files, and what a caller's file is like is said by this module's errors.
    # warnings.catch_warnings would swap the filters under every other thread; one narrow filter
    # disturbs nobody. Adding it makes Python forget which warnings were shown once, hence the
    # look whether it still stands first.
    if warnings.filters[:1] != [_PILLOWS_WARNINGS]:
        warnings.filterwarnings("ignore", module=_PILLOWS_WARNINGS[3].pattern)


@contextmanager
def _as_verdict_on(name: str, data: bytes, max_pixels: int) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except (Image.DecompressionBombError, MemoryError) as error:
        raise _too_many_pixels(name, max_pixels) from error
    except UndefinedRangeError as error:
        raise NotAnImageError(
            f"Image {name!r} has pixels of kind {error.mode}, whose range is not defined. Save it "
            "with 8 or 16 bits for each channel.",
            image=name,
        ) from error
    except Exception as error:
        # Decoders given hostile bytes raise nearly every built-in exception, and each of them
        # means the same here; the cause stays attached.
        raise NotAnImageError(
            f"Image {name!r} cannot be read as an image: {_hint(data)}. Supported are "
            f"{', '.join(FORMATS)}.",
            image=name,
            formats=list(FORMATS),
        ) from error


def _too_many_pixels(name: str, max_pixels: int, **size: int) -> InputTooLargeError:
    found = f"{size['width']} x {size['height']}" if size else "far more"
    return InputTooLargeError(
        f"Image {name!r} has {found} pixels; at most {max_pixels} are allowed, the job's images "
        "before it counted. Scale it down, or raise INPUT_MAX_PIXELS.",
        image=name,
        max_pixels=max_pixels,
        **size,
    )


def _hint(data: bytes) -> str:
    start = data[:64].lstrip()
    if not start:
        return "it is empty"
    if start.startswith(b"<"):
        return "it is text such as an HTML page or an SVG drawing"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS:
        return "it is an HEIC photo, to be converted to JPEG first"
    if start.isascii() and start.decode("ascii").replace("\n", " ").isprintable():
        return "it is text"
    return "it is damaged, cut short, or of another format"


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (SyntaxError, struct.error):
        # The block of EXIF data is damaged; the picture is not.
        return image
    method = _UPRIGHT_BY_ORIENTATION.get(orientation)
    return image if method is None else image.transpose(method)
