"""Looks into a video or a sound before any node does: what it is, how long, how large.

A container is read through, but nothing in it is decoded. Only formats that hold their own data
are let in: a playlist would have FFmpeg open whatever address or path it names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from handler.contract.errors import (
    ConfigurationError,
    FetchUnavailableError,
    InputTooLargeError,
    NotMediaError,
)

if TYPE_CHECKING:
    from pathlib import Path

    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.video.stream import VideoStream

    from handler.inputs.time_limit import TimeLimit
    from handler.inputs.wanted import Wanted
    from handler.settings import Settings

# By FFmpeg's first name of a format: the extension for a video and for a sound in it.
_EXTENSIONS: dict[str, tuple[str | None, str | None]] = {
    "mov": ("mp4", "m4a"),
    "matroska": ("mkv", "mka"),
    "avi": ("avi", None),
    "mpegts": ("ts", None),
    "mpeg": ("mpg", None),
    "gif": ("gif", None),
    "ogg": ("ogv", "ogg"),
    "wav": (None, "wav"),
    "mp3": (None, "mp3"),
    "flac": (None, "flac"),
    "aac": (None, "aac"),
    "aiff": (None, "aiff"),
}
_FORMATS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,gif,ogg,wav,mp3,flac,aac,aiff"
_MOST_STREAMS = 32
_LOOK_EVERY = 512


@dataclass(frozen=True)
class MediaLimits:
    """What a video or a sound may have.

    Attributes:
        seconds: Most seconds that it may last.
        frame_pixels: Most pixels of a frame.
        video_pixels: Most pixels of all frames together.
    """

    seconds: float
    frame_pixels: int
    video_pixels: int

    @classmethod
    def of(cls, settings: Settings) -> MediaLimits:
        """Return the limits that the settings name."""
        return cls(
            settings.input_max_seconds,
            settings.input_max_pixels,
            settings.input_max_video_pixels,
        )


def check_media(
    wanted: Wanted,
    path: Path,
    media: Literal["video", "audio"],
    limits: MediaLimits,
    limit: TimeLimit,
) -> str:
    """Check that a file is a video, or a sound, within limits; its content alone says what it is.

    Args:
        limit: Time for the fetch, looked at while the file is read.

    Returns:
        The extension that its format has.

    Raises:
        InputTooLargeError: It lasts too long, or its frames have too many pixels.
        NotMediaError: It is not a whole file of a supported format, or has no such stream.
        FetchUnavailableError: Reading it through took too long.
        ConfigurationError: PyAV, which ComfyUI brings, is not installed.
    """
    try:
        import av
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "Inputs of video and audio are looked into with PyAV: pip install av."
        ) from error
    try:
        with (
            path.open("rb") as file,
            av.open(
                file,
                "r",
                metadata_errors="replace",
                options={"format_whitelist": _FORMATS, "protocol_whitelist": "none"},
            ) as container,
        ):
            return _Look(wanted, media, limits, limit).extension_of(container)
    except (av.error.FFmpegError, ValueError, ArithmeticError, MemoryError) as error:
        raise NotMediaError(
            f"{wanted} cannot be read as {media}: it is damaged, cut short, or of another format. "
            f"Supported are {', '.join(_supported(media))}.",
            **wanted.details,
            formats=[*_supported(media)],
        ) from error
    except TimeoutError as error:
        raise FetchUnavailableError(
            f"{wanted} could not be fetched and looked through within {limit.seconds:g} s. Use a "
            f"shorter one, or raise {wanted.time_setting}.",
            **wanted.details,
            timeout_seconds=limit.seconds,
        ) from error


def _supported(media: Literal["video", "audio"]) -> list[str]:
    place = 0 if media == "video" else 1
    return [name for pair in _EXTENSIONS.values() if (name := pair[place]) is not None]


@dataclass(frozen=True)
class _Look:
    wanted: Wanted
    media: Literal["video", "audio"]
    limits: MediaLimits
    limit: TimeLimit

    def extension_of(self, container: InputContainer) -> str:
        names = _EXTENSIONS.get(container.format.name.split(",")[0], (None, None))
        # A sound may be taken from a video.
        extension = names[0] if self.media == "video" else names[1] or names[0]
        if extension is None or len(container.streams) > _MOST_STREAMS:
            raise self._not_media(f"its format, {container.format.name}, is none of {self.media}")
        if self.media == "video":
            video = next(iter(container.streams.video), None)
            if video is None:
                raise self._not_media("it has no picture")
            self._check_decoder(video)
            self._check_frame(video)
            self._read_through(container, video, video.width * video.height)
        else:
            sound = next(iter(container.streams.audio), None)
            if sound is None:
                raise self._not_media("it has no sound")
            self._check_decoder(sound)
            self._read_through(container, sound, 0)
        return extension

    def _read_through(
        self, container: InputContainer, stream: VideoStream | AudioStream, frame_pixels: int
    ) -> None:
        """Count what is there: what a header says of the length need not be so."""
        packets, ticks, end = 0, 0, 0
        for packet in container.demux(stream):
            if packet.size == 0:
                continue
            packets += 1
            ticks += packet.duration or 0
            end = max(end, (packet.pts or 0) + (packet.duration or 0) - (stream.start_time or 0))
            if packets % _LOOK_EVERY == 0:
                self.limit.check()
            seconds = float(max(ticks, end) * (stream.time_base or 0))
            if seconds > self.limits.seconds:
                raise self._too_large(
                    f"lasts more than {self.limits.seconds:g} s", "INPUT_MAX_SECONDS"
                )
            if packets * frame_pixels > self.limits.video_pixels:
                raise self._too_large(
                    f"has more than {self.limits.video_pixels} pixels in all its frames",
                    "INPUT_MAX_VIDEO_PIXELS",
                )
        if packets == 0:
            raise self._not_media("nothing is in it")

    def _check_decoder(self, stream: VideoStream | AudioStream) -> None:
        # PyAV's types leave out that a stream of an unknown codec has none.
        context: object = stream.codec_context
        if context is None:
            raise self._not_media("nothing here decodes it")

    def _check_frame(self, video: VideoStream) -> None:
        pixels = video.width * video.height
        if pixels == 0:
            raise self._not_media("its picture has no size")
        if pixels > self.limits.frame_pixels:
            raise self._too_large(
                f"has {video.width} x {video.height} pixels; at most {self.limits.frame_pixels} "
                "are allowed",
                "INPUT_MAX_PIXELS",
            )

    def _too_large(self, problem: str, setting: str) -> InputTooLargeError:
        return InputTooLargeError(
            f"{self.wanted} {problem}. Send a shorter or smaller one, or raise {setting}.",
            **self.wanted.details,
        )

    def _not_media(self, problem: str) -> NotMediaError:
        return NotMediaError(
            f"{self.wanted} cannot be used as {self.media}: {problem}. Supported are "
            f"{', '.join(_supported(self.media))}.",
            **self.wanted.details,
            formats=[*_supported(self.media)],
        )
