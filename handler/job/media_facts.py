"""Dimensions, duration and rates of files that nodes wrote, read from the files themselves."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image, UnidentifiedImageError

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.video.stream import VideoStream

    from handler.contract.response import OutputKind
    from handler.job.content import Content

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MediaFacts:
    """What a file says of itself, as far as its kind has it.

    Attributes:
        width: Pixels.
        height: Pixels.
        duration: Seconds.
        frame_rate: Frames per second.
        sample_rate: Samples of sound per second.
    """

    width: int | None = None
    height: int | None = None
    duration: float | None = None
    frame_rate: float | None = None
    sample_rate: int | None = None


def media_facts(content: Content, kind: OutputKind) -> MediaFacts:
    """Return what a file says of itself; nothing for a damaged one, or one without such facts."""
    if kind == "image":
        return _image_facts(content)
    if kind in {"video", "audio"}:
        return _av_facts(content)
    return MediaFacts()


def _image_facts(content: Content) -> MediaFacts:
    try:
        with Image.open(_opened(content)) as picture:
            return MediaFacts(width=picture.width, height=picture.height)
    except (UnidentifiedImageError, Image.DecompressionBombError):
        # A format that Pillow does not know, or a size that it will not open: the file is stored
        # as it is, without dimensions.
        return MediaFacts()


def _av_facts(content: Content) -> MediaFacts:
    try:
        import av
    except ModuleNotFoundError:
        # It comes with ComfyUI, which may be on another machine.
        return MediaFacts()
    try:
        with av.open(_opened(content), "r", metadata_errors="replace") as container:
            return _facts_of(container)
    except (av.error.FFmpegError, ValueError) as error:
        log.warning("result cannot be read as media", extra={"error": str(error)})
        return MediaFacts()


def _facts_of(container: InputContainer) -> MediaFacts:
    seconds = None if container.duration is None else container.duration / 1_000_000
    # A stream of a codec that is not known here says nothing of itself.
    videos = [one for one in container.streams.video if _is_known(one)]
    sounds = [one for one in container.streams.audio if _is_known(one)]
    if videos:
        video = videos[0]
        rate = video.average_rate or video.guessed_rate
        return MediaFacts(
            width=video.width,
            height=video.height,
            duration=seconds,
            frame_rate=None if rate is None else float(rate),
            sample_rate=sounds[0].rate if sounds else None,
        )
    return MediaFacts(duration=seconds, sample_rate=sounds[0].rate if sounds else None)


def _is_known(stream: VideoStream | AudioStream) -> bool:
    context: object = stream.codec_context
    return context is not None


def _opened(content: Content) -> BytesIO | str:
    return BytesIO(content) if isinstance(content, bytes) else str(content)
