"""Writes safetensors files tensor by tensor, so that memory holds one piece of noise at a time.

The format: eight bytes with the header's length, a JSON header with each tensor's type, shape and
byte range, then the bytes (https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from generated_models.fill import Fill

from generated_models.atomic_file import atomic_file

_TYPE_NAMES = {"float16": "F16", "float32": "F32", "int64": "I64"}
_HEADER_ALIGNMENT = 8


@dataclass(frozen=True)
class Tensor:
    """A tensor to write: its name in the file, its shape, and where its numbers come from."""

    name: str
    shape: tuple[int, ...]
    fill: Fill
    dtype: str = "float16"

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Number of bytes."""
        return self.size * np.dtype(self.dtype).itemsize

    def pieces(self) -> Iterator[memoryview]:
        """Yield the tensor's bytes in order."""
        for numbers in self.fill.numbers(self.name, self.size):
            yield memoryview(np.ascontiguousarray(numbers, self.dtype)).cast("B")


def write_safetensors(path: Path, tensors: Sequence[Tensor]) -> None:
    """Write ``tensors`` to ``path``, in the given order."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        start, end = end, end + tensor.nbytes
        header[tensor.name] = {
            "dtype": _TYPE_NAMES[tensor.dtype],
            "shape": tensor.shape,
            "data_offsets": (start, end),
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _HEADER_ALIGNMENT)
    with atomic_file(path) as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for tensor in tensors:
            for piece in tensor.pieces():
                file.write(piece)
