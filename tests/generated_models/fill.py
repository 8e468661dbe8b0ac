"""Where a generated tensor's numbers come from.

Noise of unit variance is drawn once; a tensor is a run of it that starts at a place given by the
tensor's name, times the tensor's scale. The block's length is prime, so that no two rows of a
tensor longer than the block are alike.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_BLOCK_LENGTH = 4_194_301
_SEED = 20_240_229


class Fill(Protocol):
    """A source of a tensor's numbers."""

    def numbers(self, name: str, size: int) -> Iterator[NDArray[np.generic]]:
        """Yield ``size`` numbers in pieces, always the same ones for the same name."""


@dataclass(frozen=True)
class Noise:
    """Normally distributed numbers around zero.

    Attributes:
        scale: Standard deviation.
        salt: Tells apart tensors of the same name in different files.
    """

    scale: float
    salt: str = ""

    def numbers(self, name: str, size: int) -> Iterator[NDArray[np.float16]]:
        """Yield a run of the scaled block, from a place given by the name and the salt."""
        block = _scaled_block(self.scale)
        start = zlib.crc32(f"{self.salt}{name}".encode()) % _BLOCK_LENGTH
        while size:
            piece = block[start : start + size]
            yield piece
            size -= len(piece)
            start = 0


@dataclass(frozen=True)
class Constant:
    """The same number throughout."""

    value: float

    def numbers(self, name: str, size: int) -> Iterator[NDArray[np.float64]]:
        """Yield the value ``size`` times, whatever the name."""
        del name
        yield np.full(size, self.value)


@dataclass(frozen=True)
class Counting:
    """0, 1, 2, …, as position ids are."""

    def numbers(self, name: str, size: int) -> Iterator[NDArray[np.int64]]:
        """Yield the first ``size`` numbers, whatever the name."""
        del name
        yield np.arange(size)


@cache
def _unit_block() -> NDArray[np.float32]:
    return np.random.default_rng(_SEED).standard_normal(_BLOCK_LENGTH, np.float32)


@cache
def _scaled_block(scale: float) -> NDArray[np.float16]:
    return (_unit_block() * np.float32(scale)).astype(np.float16)
