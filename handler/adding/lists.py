"""Entries for ``models.txt`` and ``node_packs.txt``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handler.adding.models import folder_on_disk

if TYPE_CHECKING:
    from collections.abc import Iterable

    from handler.adding.models import NamedModel
    from handler.adding.packs import NamedPack


def with_models(text: str, group: str, models: Iterable[NamedModel]) -> str:
    """Return ``models.txt`` with the models that have an address and are not in it yet."""
    listed = _listed_paths(text)
    entries = []
    for model in models:
        if model.url is None or model.folder is None:
            continue
        folder, file = folder_on_disk(model.folder), model.file.replace("\\", "/")
        if f"{folder}/{file}" in listed:
            continue
        lines = [model.url, f"  dir={folder}", f"  out={file}"]
        if model.sha256:
            lines.append(f"  checksum=sha-256={model.sha256}")
        entries.append("\n".join(lines))
    if not entries:
        return text
    blocks = [f"# groups: {group}", *entries]
    return text.rstrip("\n") + "\n\n" + "\n\n".join(blocks) + "\n"


def with_packs(text: str, group: str, packs: Iterable[NamedPack]) -> str:
    """Return ``node_packs.txt`` with the packs that have a commit and are not in it yet."""
    listed = {
        words[1].lower()
        for line in text.splitlines()
        if len(words := line.split()) > 2 and not line.startswith("#")  # noqa: PLR2004 - columns
    }
    lines = [
        f"{group}  {pack.repository}  {pack.commit}"
        for pack in packs
        if pack.repository and pack.commit and pack.repository.lower() not in listed
    ]
    return text.rstrip("\n") + "\n" + "\n".join(lines) + "\n" if lines else text


def _listed_paths(text: str) -> set[str]:
    paths: set[str] = set()
    folder = ""
    for line in text.splitlines():
        name, _, value = line.strip().partition("=")
        if name == "dir":
            folder = value
        elif name == "out":
            paths.add(f"{folder}/{value}")
    return paths
