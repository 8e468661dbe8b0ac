"""Damaged videos and sounds of several formats: a file or an error about the input."""

from __future__ import annotations

import random

import pytest
from abuse_counts import FACTOR, SEED
from media_support import sound, video

from comfyui_runtime.run.cancellation import Cancellation
from handler.contract.errors import InputError
from handler.inputs.media import MediaLimits, check_media
from handler.inputs.time_limit import TimeLimit
from handler.inputs.wanted import Wanted

TRIES_PER_FORMAT = 50 * FACTOR
LIMITS = MediaLimits(seconds=60, frame_pixels=10_000, video_pixels=1_000_000)
FILES = {
    "mp4": ("video", video),
    "matroska": ("video", lambda: video(container="matroska")),
    "avi": ("video", lambda: video(container="avi")),
    "wav": ("audio", lambda: sound(seconds=0.1)),
    "flac": ("audio", lambda: sound(seconds=0.1, container="flac")),
    "mp3": ("audio", lambda: sound(seconds=0.1, container="mp3")),
}


@pytest.mark.timeout(300 * FACTOR)
@pytest.mark.parametrize("name", FILES)
@pytest.mark.fault(
    "A video or a sound is damaged",
    "a file or an input error, in bounded time",
)
def test_mutated_media_is_a_file_or_an_input_error(name, tmp_path):
    media, make = FILES[name]
    rng = random.Random(f"{SEED} {name}")
    whole = make()
    path = tmp_path / "0"
    for _ in range(TRIES_PER_FORMAT):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 12)):
            data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
        path.write_bytes(data[: rng.choice((len(data), rng.randrange(len(data))))])
        limit = TimeLimit(20, Cancellation())
        try:
            check_media(Wanted("clip", 10**6, "file"), path, media, LIMITS, limit)
        except InputError:
            continue
