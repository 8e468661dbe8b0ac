from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from handler.inputs.jpeg_scans import count_jpeg_scans


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)


def count(data):
    return count_jpeg_scans(data, stop_after=100)


def test_a_baseline_file_has_one_scan_and_a_progressive_one_ten(encode, noise):
    assert count(encode(noise, "JPEG", quality=95)) == 1
    assert count(encode(noise, "JPEG", quality=95, progressive=True)) == 10
    assert count(encode(noise[..., 0], "JPEG", progressive=True)) == 6


def test_restart_markers_do_not_end_a_scan(encode, noise):
    data = encode(noise, "JPEG", progressive=True, restart_marker_blocks=1)
    assert count(data) == 10


def test_pictures_inside_metadata_and_after_the_end_do_not_count(encode, noise):
    inner = encode(noise, "JPEG", progressive=True)
    exif = b"Exif\0\0" + inner
    assert count(encode(noise, "JPEG", exif=exif) + inner * 30) == 1


def test_bytes_between_segments_hide_nothing(encode, noise):
    data = encode(Image.fromarray(noise), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    assert count(data[:-2] + (b"\0junk\xff\xff" + scan) * 5 + data[-2:]) == 15


def test_the_count_stops_beyond_the_limit(encode, noise):
    data = encode(noise, "JPEG", progressive=True)
    assert count_jpeg_scans(data, stop_after=3) == 4


def test_other_files_have_none(encode, noise):
    assert count(encode(noise)) == 0
    assert count(b"") == 0


@given(st.binary(max_size=200))
def test_any_bytes_are_counted(data):
    assert 0 <= count(b"\xff\xd8" + data) <= 101
