from __future__ import annotations

import os

import pytest

from comfyui_runtime.in_process.read_ahead import ReadAhead

PIECE = 1024 * 1024


def is_cached(path) -> bool:
    """Say whether a file can be read without the disk (preadv2(2), RWF_NOWAIT)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        for offset in range(0, path.stat().st_size, PIECE):
            buffer = bytearray(min(PIECE, path.stat().st_size - offset))
            if os.preadv(descriptor, [buffer], offset, os.RWF_NOWAIT) != len(buffer):
                return False
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def written_to_disk(path, size):
    path.write_bytes(os.urandom(size))
    descriptor = os.open(path, os.O_RDWR)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)
    return path


def test_files_are_in_the_page_cache_once_they_are_read(tmp_path):
    paths = [written_to_disk(tmp_path / name, 20_000_003) for name in ("one", "two")]
    if any(is_cached(path) for path in paths):
        pytest.skip("this file system keeps what it is told to drop")
    assert ReadAhead(paths).wait() == 40_000_006
    assert all(is_cached(path) for path in paths)


def test_reading_ends_when_it_is_stopped(tmp_path):
    path = written_to_disk(tmp_path / "large", 64_000_000)
    read_ahead = ReadAhead([path] * 50)
    read_ahead.stop()
    assert read_ahead.wait() < 50 * 64_000_000


def test_file_that_is_missing_is_left_out(tmp_path):
    path = written_to_disk(tmp_path / "one", 1000)
    assert ReadAhead([tmp_path / "nowhere", path]).wait() == 1000


def test_nothing_to_read_takes_no_thread():
    assert ReadAhead([]).wait() == 0
