"""Reading ``models.txt``: the input-file format of aria2, with a group in its comments.

The format is documented in aria2's manual, section "Input File": an entry is a line of addresses
separated by tabs, followed by indented ``name=value`` options; lines that start with ``#`` are
comments.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

GROUPS_TAG = "groups:"
SHA256 = re.compile(r"[0-9a-f]{64}")


class ModelListError(Exception):
    """The list of models is not of the documented form; the message names the line."""


@dataclass(frozen=True)
class Model:
    """One file that workflows load.

    Attributes:
        addresses: Where it is published; any of them will do.
        path: Folder and name under ComfyUI's models folder.
        sha256: In lower-case hexadecimal; ``None`` where the publisher states none.
        groups: Which groups of workflows need it.
    """

    addresses: tuple[str, ...]
    path: PurePosixPath
    sha256: str | None
    groups: frozenset[str]


def parse_model_list(text: str) -> list[Model]:
    """Read every entry of a list of models.

    Args:
        text: A file in aria2's input-file format.

    Raises:
        ModelListError: A line or an entry is not of the documented form.
    """
    models = [entry.model() for entry in _entries(text)]
    seen: set[PurePosixPath] = set()
    for model in models:
        if model.path in seen:
            raise ModelListError(f"{model.path} is listed twice")
        seen.add(model.path)
    return models


def _entries(text: str) -> list[_Entry]:
    entries: list[_Entry] = []
    groups: frozenset[str] = frozenset()
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.strip()
        if content.startswith("#"):
            tag = content.lstrip("# ")
            if tag.startswith(GROUPS_TAG):
                groups = frozenset(tag.removeprefix(GROUPS_TAG).split())
        elif content and not line[0].isspace():
            entries.append(_Entry(number, tuple(content.split("\t")), groups, {}))
        elif content:
            name, separator, value = content.partition("=")
            if not separator or not entries:
                raise ModelListError(
                    f"line {number}: expected name=value below an address, found {content}"
                )
            entries[-1].options[name] = value
    return entries


@dataclass(frozen=True)
class _Entry:
    line: int
    addresses: tuple[str, ...]
    groups: frozenset[str]
    options: dict[str, str]

    def model(self) -> Model:
        for needed in ("dir", "out"):
            if not self.options.get(needed):
                raise ModelListError(f"line {self.line}: the entry has no {needed}= option")
        path = PurePosixPath(self.options["dir"], self.options["out"])
        if path.is_absolute() or ".." in path.parts:
            raise ModelListError(f"line {self.line}: {path} leaves the models folder")
        if not self.groups:
            raise ModelListError(f"line {self.line}: no '# {GROUPS_TAG}' line stands above {path}")
        return Model(self.addresses, path, self._sha256(), self.groups)

    def _sha256(self) -> str | None:
        checksum = self.options.get("checksum")
        if checksum is None:
            return None
        kind, _, digest = checksum.partition("=")
        if kind != "sha-256" or not SHA256.fullmatch(digest.lower()):
            raise ModelListError(
                f"line {self.line}: checksum= must be sha-256= and 64 hexadecimal digits"
            )
        return digest.lower()
