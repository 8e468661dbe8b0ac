"""Videos and sounds, as small as they can be."""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO

import av
import numpy as np


def video(
    *,
    width: int = 64,
    height: int = 48,
    frames: int = 8,
    rate: int = 8,
    container: str = "mp4",
    codec: str = "mpeg4",
    grey: int = 128,
) -> bytes:
    """Return a video of one shade of grey."""
    file = BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        pixels = np.full((height, width, 3), grey, np.uint8)
        for _ in range(frames):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        output.mux(stream.encode())
    return file.getvalue()


def sound(*, seconds: float = 0.5, rate: int = 16_000, container: str = "wav") -> bytes:
    """Return a tone."""
    codec = {"wav": "pcm_s16le", "flac": "flac", "mp3": "mp3"}[container]
    file = BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        times = np.arange(int(seconds * rate)) / rate
        samples = (np.sin(times * 440 * 2 * np.pi) * 10_000).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        resampler = av.AudioResampler(stream.format, "mono", rate, stream.frame_size or None)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            output.mux(stream.encode(part))
        output.mux(stream.encode())
    return file.getvalue()
