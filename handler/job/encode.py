"""Turns what a graph made into the bytes of a file."""

from __future__ import annotations

import mimetypes
import re
import struct
from dataclasses import asdict, dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np
from blake3 import blake3
from isal import isal_zlib
from PIL import Image
from PIL.PngImagePlugin import PngInfo, putchunk

from comfyui_runtime.run.outputs import ImageOutput, TextOutput
from handler.contract.errors import OutputError
from handler.contract.response import MAX_TEXT_BYTES
from handler.job.content import content_bytes, content_digest, content_size
from handler.job.media_facts import media_facts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from comfyui_runtime.run.outputs import FileOutput
    from comfyui_runtime.run.outputs import Output as RunOutput
    from comfyui_runtime.workflow.graph import NodeId
    from handler.contract.event import Output
    from handler.contract.response import OutputKind
    from handler.job.content import Content

_CONTENT_TYPES = {"png": "image/png", "webp": "image/webp", "jpeg": "image/jpeg"}
_EXTENSIONS = {"png": "png", "webp": "webp", "jpeg": "jpg"}
# Longest side in pixels: https://developers.google.com/speed/webp/faq for webp; for jpeg what
# libjpeg accepts; for png what its header can say.
_LONGEST_SIDE = {"png": 2**31 - 1, "webp": 16_383, "jpeg": 65_500}

# PNG by the standard, https://www.w3.org/TR/png-3/
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_COLOUR_TYPES = {3: 2, 4: 6}
_PNG_FILTER_UP = 2
_PNG_PERCEPTUAL_SRGB = b"\x00"
# ISA-L's middle level: the higher one takes longer and made files no smaller.
_DEFLATE_LEVEL = 2

# Lossless webp at this effort takes a fifth of the default's time and ends below PNG's size.
_WEBP_LOSSLESS_EFFORT = 25
_WEBP_LOSSLESS_METHOD = 0
_WEBP_LOSSY_METHOD = 2
_LOSSLESS_QUALITY = 100
# From here on a caller wants colour edges whole rather than the file small.
_JPEG_FULL_COLOUR_QUALITY = 95

_3D_EXTENSIONS = frozenset({"fbx", "glb", "gltf", "ksplat", "obj", "ply", "splat", "stl", "usdz"})
_FALLBACK_EXTENSION = "bin"
_SAFE_EXTENSION = re.compile(r"[a-z0-9]{1,16}")
# Beside what Python's own table (never the machine's) says. Text is UTF-8 in ComfyUI's nodes.
_MORE_CONTENT_TYPES = {
    ".avif": "image/avif",
    ".exr": "image/x-exr",
    ".flac": "audio/flac",
    ".glb": "model/gltf-binary",
    ".gltf": "model/gltf+json",
    ".latent": "application/octet-stream",
    ".m4a": "audio/mp4",
    ".md": "text/markdown; charset=utf-8",
    ".mkv": "video/x-matroska",
    ".mp4": "video/mp4",
    ".obj": "model/obj",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".safetensors": "application/octet-stream",
    ".stl": "model/stl",
    ".txt": "text/plain; charset=utf-8",
    ".wav": "audio/wav",
    ".webm": "video/webm",
    ".webp": "image/webp",
}
_types = mimetypes.MimeTypes()
for _suffix, _type in _MORE_CONTENT_TYPES.items():
    _types.add_type(_type, _suffix)


@dataclass(frozen=True)
class EncodedFile:
    """A result as it is stored.

    Attributes:
        node_id: The output node that made it.
        data: The file's bytes, or where a large one is on the disk.
        content_type: Media type.
        extension: Lower case, without the dot.
        width: Pixels; ``None`` for what is no picture.
        height: Pixels; ``None`` for what is no picture.
        duration: Seconds, of video and audio.
        frame_rate: Frames per second, of video.
        sample_rate: Samples per second, of sound.
        inline: Whether the response holds it, as a text, in place of a file.
        filename: The name that the node gives it, where it is known.
    """

    node_id: NodeId
    data: Content = field(repr=False)
    content_type: str
    extension: str
    width: int | None
    height: int | None
    duration: float | None = None
    frame_rate: float | None = None
    sample_rate: int | None = None
    inline: bool = False
    filename: str | None = None

    @property
    def kind(self) -> OutputKind:
        """What a reader can do with it."""
        return _kind(self.content_type, self.extension)

    @property
    def text(self) -> str | None:
        """The text that the response holds; ``None`` for a file."""
        return content_bytes(self.data).decode() if self.inline else None

    @cached_property
    def size(self) -> int:
        """Length in bytes."""
        return content_size(self.data)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the bytes, in hex."""
        return content_digest(self.data)

    @cached_property
    def blake3(self) -> str:
        """BLAKE3 of the bytes, in hex."""
        if isinstance(self.data, bytes):
            return blake3(self.data).hexdigest()
        return blake3().update_mmap(self.data).hexdigest()


def encode(output: RunOutput, wanted: Output, metadata: Mapping[str, str]) -> EncodedFile:
    """Turn what an output node made into a result.

    See :func:`encode_image`, :func:`encode_text` and :func:`named_file`.
    """
    if isinstance(output, ImageOutput):
        return encode_image(output, wanted, metadata)
    if isinstance(output, TextOutput):
        return encode_text(output)
    return named_file(output)


def encode_text(made: TextOutput) -> EncodedFile:
    """Take a text: one of at most ``MAX_TEXT_BYTES`` goes into the response, another is a file."""
    data = made.text.encode()
    inline = len(data) <= MAX_TEXT_BYTES
    return EncodedFile(
        made.node_id, data, _MORE_CONTENT_TYPES[".txt"], "txt", None, None, inline=inline
    )


def encode_image(made: ImageOutput, wanted: Output, metadata: Mapping[str, str]) -> EncodedFile:
    """Encode an image as the caller asked for.

    PNG, and webp at quality 100, keep every pixel. Jpeg knows no transparency; it is put over
    white. Colours are sRGB: PNG says so, the other two mean it by default.

    Args:
        made: What the graph made.
        wanted: Format, quality, and whether metadata is wanted.
        metadata: Text entries by keyword, for PNG with ``wanted.embed_workflow``; left out
            otherwise.

    Raises:
        OutputError: The image is larger than the format can hold.
    """
    image = made.image
    limit = _LONGEST_SIDE[wanted.format]
    if max(image.width, image.height) > limit:
        raise OutputError(
            f"The result is {image.width} x {image.height} pixels, and {wanted.format} holds "
            f"{limit} a side: ask for output.format png, or for a smaller picture.",
            width=image.width,
            height=image.height,
        )
    if wanted.format == "png":
        data = _png(image.pixels, metadata if wanted.embed_workflow else {})
    elif wanted.format == "webp":
        data = _webp(image.pixels, wanted.quality)
    else:
        data = _jpeg(image.pixels, wanted.quality)
    return EncodedFile(
        made.node_id,
        data,
        _CONTENT_TYPES[wanted.format],
        _EXTENSIONS[wanted.format],
        image.width,
        image.height,
    )


def named_file(made: FileOutput) -> EncodedFile:
    """Take a file that an output node wrote: video, sound, text, or an image kept as it is.

    The content type follows from the name, dimensions and duration from the file itself.
    """
    suffix = PurePath(made.name).suffix.lower()
    content_type = _types.guess_type(f"file{suffix}")[0] or "application/octet-stream"
    extension = suffix.removeprefix(".")
    return EncodedFile(
        made.node_id,
        made.data,
        content_type,
        extension if _SAFE_EXTENSION.fullmatch(extension) else _FALLBACK_EXTENSION,
        **asdict(media_facts(made.data, _kind(content_type, extension))),
    )


def _kind(content_type: str, extension: str) -> OutputKind:
    if extension in _3D_EXTENSIONS:
        return "3d"
    match content_type.partition("/")[0]:
        case "image" | "video" | "audio" | "text" as kind:
            return kind
        case "model":
            return "3d"
        case _:
            return "file"


def _png(pixels: NDArray[np.uint8], texts: Mapping[str, str]) -> bytes:
    """Write a PNG.

    For each row Pillow tries every filter before it compresses with zlib. Here one filter, which
    numpy does in a single pass, is followed by ISA-L's deflate: measured beside ComfyUI's SaveImage
    (Pillow at level 4) on photos of 1024 x 1024, a tenth of the time for a file 4 to 16 % larger.
    """
    height, width, channels = pixels.shape
    rows = pixels.reshape(height, width * channels)
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = _PNG_FILTER_UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])

    info = PngInfo()
    for keyword, text in texts.items():
        info.add_text(keyword, text)

    file = BytesIO()
    file.write(_PNG_SIGNATURE)
    header = struct.pack(">IIBBBBB", width, height, 8, _PNG_COLOUR_TYPES[channels], 0, 0, 0)
    putchunk(file, b"IHDR", header)
    putchunk(file, b"sRGB", _PNG_PERCEPTUAL_SRGB)
    for name, content, *_ in info.chunks:
        putchunk(file, name, content)
    putchunk(file, b"IDAT", isal_zlib.compress(filtered, _DEFLATE_LEVEL))
    putchunk(file, b"IEND")
    return file.getvalue()


def _webp(pixels: NDArray[np.uint8], quality: int) -> bytes:
    file = BytesIO()
    picture = Image.fromarray(pixels)
    if quality == _LOSSLESS_QUALITY:
        picture.save(
            file,
            "WEBP",
            lossless=True,
            exact=True,
            quality=_WEBP_LOSSLESS_EFFORT,
            method=_WEBP_LOSSLESS_METHOD,
        )
    else:
        picture.save(file, "WEBP", quality=quality, method=_WEBP_LOSSY_METHOD)
    return file.getvalue()


def _jpeg(pixels: NDArray[np.uint8], quality: int) -> bytes:
    picture = Image.fromarray(pixels)
    if picture.mode == "RGBA":
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture).convert("RGB")
    subsampling = "4:4:4" if quality >= _JPEG_FULL_COLOUR_QUALITY else "4:2:0"
    file = BytesIO()
    picture.save(file, "JPEG", quality=quality, subsampling=subsampling)
    return file.getvalue()
