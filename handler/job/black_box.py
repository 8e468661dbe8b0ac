"""What the device is doing, in a file that outlives the process.

A process that is killed says nothing any more. What it wrote into a mapped file is in the kernel's
page cache and stays: whoever comes next reads there which job was on the device, and in which
node. A note costs some microseconds, so that one can be made for each node.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, ValidationError

if TYPE_CHECKING:
    from pathlib import Path

_SIZE = 4096
_LENGTH_BYTES = 4
# Both texts, each character at most six bytes of JSON, fit with room to spare.
_LONGEST_TEXT = 160


class OnDevice(BaseModel):
    """The job on the device, and the node that runs; ``None`` before its first one."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    title: str | None = None


class BlackBox:
    """One process's notes. For one thread at a time.

    Args:
        path: Made anew, with its folder.

    Raises:
        OSError: The file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w+b") as file:
            file.truncate(_SIZE)
            self._memory = mmap.mmap(file.fileno(), _SIZE)

    def note(self, state: OnDevice | None) -> None:
        """Write down what is on the device; ``None`` when nothing is."""
        data = b"" if state is None else _short(state).model_dump_json().encode()
        # A reader takes a length of 0 as nothing: what is half written is never read.
        self._set_length(0)
        self._memory[_LENGTH_BYTES : _LENGTH_BYTES + len(data)] = data
        self._set_length(len(data))

    def close(self) -> None:
        """Unmap the file; it stays."""
        self._memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _set_length(self, length: int) -> None:
        self._memory[:_LENGTH_BYTES] = length.to_bytes(_LENGTH_BYTES, "little")


def read_black_box(path: Path) -> OnDevice | None:
    """Return what was on the device when the process ended; ``None`` for nothing, or no file."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    try:
        return OnDevice.model_validate_json(data[_LENGTH_BYTES : _LENGTH_BYTES + length])
    except ValidationError:
        return None


def _short(state: OnDevice) -> OnDevice:
    return OnDevice(**{name: value and value[:_LONGEST_TEXT] for name, value in state})
