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
from PIL import ExifTags, Image, ImageCms
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from comfyui_runtime.workflow.images import PixelImage
from handler.contract.errors import InputError, InputTooLargeError, NotAnImageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_PILLOWS_OWN = tuple(
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
_HEIF = "HEIF"
FORMATS = (*_PILLOWS_OWN, _HEIF)
"""Pillow's names of the formats that are read; their plugins, and no others, see the bytes.

JPEG includes MPO, of which the first picture is taken, and HEIF includes HEIC.
"""
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
# ISO/IEC 23008-12, annex B; mif1 and msf1 say nothing of the coding.
_HEIF_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
)
_SIXTEEN_BIT_GREY = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_GREY = frozenset({"1", "L", "LA"})
_VIA_RGBA = frozenset({"P", "PA", "RGBA", "RGBa"})
_COLOUR = frozenset({"RGB", "RGBX", "YCbCr", "LAB"})
_START_OF_IMAGE = b"\xff\xd8"
_START_OF_SCAN = b"\xda"
_END_OF_IMAGE = b"\xd9"
# A marker that opens a segment. Not one: 0xFF 0x00 (a data byte), restart markers, which stand
# within a scan's data, TEM, and fill bytes (ITU-T T.81, B.1.1). Like libjpeg, and so that nothing
# hides from the count, bytes between segments are skipped.
_SEGMENT = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])", re.DOTALL)


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
                "camera writes. Save it again.",
                image=name,
            )
        with Image.open(io.BytesIO(data), formats=_formats_for(data)) as image:
            _check_pixels(name, image, max_pixels)
            image.load()
            # What a HEIF file says of its size is not what its coded picture has to have.
            _check_pixels(name, image, max_pixels)
            pixels = np.asarray(_in_srgb(_upright(image)))
            return PixelImage(pixels, hashlib.sha256(data).hexdigest())


def _formats_for(data: bytes) -> tuple[str, ...]:
    if not _is_heif(data):
        return _PILLOWS_OWN
    # Its library takes 20 ms to load: only for whoever sends such a photo.
    import pillow_heif

    pillow_heif.register_heif_opener()
    return FORMATS


def _is_heif(data: bytes) -> bool:
    return data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS


def _check_pixels(name: str, image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise _too_many_pixels(name, max_pixels, width=image.width, height=image.height)


def _silence_pillow() -> None:
    # Pillow warns about files; what is wrong with a caller's file, this module's errors say.
    # warnings.catch_warnings would swap the filters under every other thread; one narrow filter
    # disturbs nobody. Adding it makes Python forget which warnings were shown once, hence the
    # check whether it is still first.
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
    except _UndefinedRangeError as error:
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
    if _is_heif(data):
        return "it is an HEIC photo that is damaged or cut short"
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


class _UndefinedRangeError(Exception):
    """An image's pixels, such as floats, do not say which value is white.

    Attributes:
        mode: Pillow's name of the kind of pixels.
    """

    def __init__(self, mode: str) -> None:
        super().__init__(mode)
        self.mode = mode


def _in_srgb(image: Image.Image) -> Image.Image:
    """Convert an image to sRGB, by its embedded colour profile when that is usable.

    Args:
        image: A loaded image of any mode that Pillow has for photos.

    Returns:
        An image of mode RGB, or RGBA where some pixel is not opaque.

    Raises:
        _UndefinedRangeError: Its pixels are of a kind without a defined range.
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
    raise _UndefinedRangeError(image.mode)


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


def count_jpeg_scans(data: bytes, *, stop_after: int) -> int:
    """Count the scans of a JPEG file's first image: passes of a decoder over its pixels.

    A progressive file is sent in scans, and each goes over the whole image again. A scan that
    changes nothing takes some 30 bytes, so a file within every other limit can keep a decoder busy
    for hours.

    Args:
        data: The file. Of anything but a JPEG the count is 0.
        stop_after: The count goes no higher than one more than this.
    """
    if not data.startswith(_START_OF_IMAGE):
        return 0
    scans = 0
    position = len(_START_OF_IMAGE)
    while scans <= stop_after:
        segment = _SEGMENT.search(data, position)
        if segment is None or segment[1] == _END_OF_IMAGE:
            break
        scans += segment[1] == _START_OF_SCAN
        length = int.from_bytes(data[segment.end() : segment.end() + 2], "big")
        position = segment.end() + max(length, 2)
    return scans
