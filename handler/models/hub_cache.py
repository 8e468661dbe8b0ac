"""Hugging Face's cache on this machine, as RunPod fills it before a worker starts.

Its layout is huggingface_hub's: hub/models--ORG--NAME/snapshots/COMMIT/PATH, and a name such as
"main" stands for the commit in hub/models--ORG--NAME/refs/NAME.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FILE = re.compile(
    r"/(?P<owner>[\w.-]+)/(?P<name>[\w.-]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")


def cached_file(hub: Path, address: str) -> Path | None:
    """Return the file that an address of Hugging Face's names, if the cache has it.

    Args:
        hub: The folder with models--ORG--NAME.
    """
    parts = urlsplit(address)
    match = _FILE.fullmatch(unquote(parts.path))
    if parts.hostname != "huggingface.co" or match is None or ".." in match["path"].split("/"):
        return None
    repository = hub / f"models--{match['owner']}--{match['name']}"
    for snapshot in _snapshots(repository, match["revision"]):
        file = snapshot / match["path"]
        if file.is_file():
            return file
    return None


def _snapshots(repository: Path, revision: str) -> Iterator[Path]:
    """Yield the folders that may stand for a revision, the surest one first."""
    snapshots = repository / "snapshots"
    if _COMMIT.fullmatch(revision):
        yield snapshots / revision
        return
    reference = repository / "refs" / revision
    if reference.is_file():
        yield snapshots / reference.read_text("utf-8").strip()
        return
    # RunPod's documentation promises the snapshots alone, and one for each repository.
    yield from sorted(snapshots.glob("*"))
