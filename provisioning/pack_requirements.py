"""The requirements files of node packs, and which of their lines are wanted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_EDITABLE = re.compile(r"(?:-e|--editable)[\s=]+")


@dataclass(frozen=True)
class Pack:
    """A node pack's requirements.

    Attributes:
        name: The pack's folder.
        requirements: Its requirements file; need not exist.
        without: Names of requirements to leave out, in canonical form.
    """

    name: str
    requirements: Path
    without: frozenset[str]

    def lines(self) -> list[str]:
        """Return the lines of the file that are requirements, without comments."""
        if not self.requirements.exists():
            return []
        text = self.requirements.read_text("utf-8-sig")
        lines = (line.split(" #")[0].strip() for line in text.splitlines())
        return [_EDITABLE.sub("", line, count=1) for line in lines if line and line[0] != "#"]


def parse_pack(text: str, custom_nodes: Path) -> Pack:
    """Return the pack of ``NAME`` or ``NAME=REQUIREMENTS,TO,LEAVE,OUT``."""
    name, _, without = text.partition("=")
    return Pack(
        name,
        custom_nodes / name / "requirements.txt",
        frozenset(canonical(part) for part in without.split(",") if part),
    )


def canonical(name: str) -> str:
    """Return a distribution's name in the one form that package indexes compare."""
    return re.sub(r"[-_.]+", "-", name).lower()
