"""The rate at which a checkpoint is read, against the speed of the disk."""

from __future__ import annotations

import contextlib
import importlib
import json
import mmap
import os
import struct
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.own_function import own_function
from bench.rows import Row, Spread
from comfyui_runtime.in_process.read_ahead import ReadAhead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.scale import Scale

_PIECE = 8 * 1024 * 1024
_THREADS = 4
_REPEATS = 3


def measure(scale: Scale) -> list[Row]:
    """Read an uncached file of tensors: bypassing the cache, ahead, and as ComfyUI does."""
    disk, ahead, load, load_after = [], [], [], []
    with own_function(), _checkpoint(scale.checkpoint_bytes) as path:
        size = path.stat().st_size
        for _ in range(_REPEATS):
            disk.append(size / _timed(lambda: _read_direct(path), path) / 1e6)
            ahead.append(size / _timed(lambda: ReadAhead([path]).wait(), path) / 1e6)
            load.append(size / _timed(lambda: _load(path), path) / 1e6)
            ReadAhead([path]).wait()
            load_after.append(size / _timed(lambda: _load(path)) / 1e6)

    def row(what: str, rate: list[float], other: list[float], compared_with: str) -> Row:
        return Row(
            group=f"checkpoint of {size / 1e9:.1f} GB",
            what=what,
            unit="MB/s",
            ours=Spread.of(rate),
            other=Spread.of(other),
            compared_with=compared_with,
        )

    return [
        row("read ahead into the page cache", ahead, disk, "the disk, past the cache"),
        row("loaded by ComfyUI, not read ahead", load, disk, "the disk, past the cache"),
        row("loaded by ComfyUI, read ahead", load_after, load, "not read ahead"),
    ]


def _timed(read: Callable[[], object], dropped: Path | None = None) -> float:
    if dropped is not None:
        _drop(dropped)
    started = time.perf_counter()
    read()
    return time.perf_counter() - started


def _drop(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _checkpoint(size: int) -> Iterator[Path]:
    """Write tensors of ``_PIECE`` bytes each (github.com/huggingface/safetensors, "Format")."""
    count = size // _PIECE
    header = json.dumps(
        {
            f"tensor.{number}": {
                "dtype": "F16",
                "shape": [_PIECE // 2],
                "data_offsets": [number * _PIECE, (number + 1) * _PIECE],
            }
            for number in range(count)
        }
    ).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.safetensors"
        with path.open("wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            for _ in range(count):
                file.write(os.urandom(_PIECE))
            file.flush()
            os.fsync(file.fileno())
        yield path


def _read_direct(path: Path) -> None:
    offsets = iter(range(0, path.stat().st_size, _PIECE))
    lock = threading.Lock()

    def read() -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
        buffer = mmap.mmap(-1, _PIECE)  # O_DIRECT requires aligned memory
        try:
            while True:
                with lock:
                    offset = next(offsets, None)
                if offset is None:
                    return
                os.preadv(descriptor, [buffer], offset)
        finally:
            os.close(descriptor)

    threads = [threading.Thread(target=read) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _load(path: Path) -> None:
    """Load the file as a checkpoint loader does, and copy each tensor as a model does."""
    for tensor in importlib.import_module("comfy.utils").load_torch_file(str(path)).values():
        tensor.clone()
