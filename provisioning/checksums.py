"""Checksums of model files: computing each once."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class KnownChecksums:
    """Computes sha256 sums and remembers them, so that an unchanged file is read only once.

    A file counts as unchanged while its size and modification time stay the same.

    Attributes:
        file: Where the sums are kept between runs, as JSON.
    """

    file: Path
    _known: dict[str, list[int | str]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if self.file.exists():
            self._known = json.loads(self.file.read_text("utf-8"))

    def of(self, path: Path) -> str:
        """Return the sha256 of a file in lower-case hexadecimal, from memory if unchanged."""
        status = path.stat()
        state = [status.st_size, status.st_mtime_ns]
        known = self._known.get(str(path))
        if known and known[:2] == state:
            return str(known[2])
        with path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        self._known[str(path)] = [*state, digest]
        return digest

    def move(self, source: Path, target: Path) -> None:
        """Rename a file and keep what is known of it."""
        source.replace(target)
        if str(source) in self._known:
            self._known[str(target)] = self._known.pop(str(source))

    def save(self) -> None:
        """Write what is known to the file, replacing it in one step."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.file.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(self._known, indent=1), "utf-8")
        unfinished.replace(self.file)
