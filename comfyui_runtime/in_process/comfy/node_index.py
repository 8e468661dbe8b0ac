"""Which file or pack defines which node class, known without importing any.

The index is made by observing an eager start of the ComfyUI and the packs that are installed; see
:mod:`comfyui_runtime.in_process.observe_nodes`. It holds for exactly those sources.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

log = logging.getLogger(__name__)

INDEX_FILE = "node_index.json"
NODE_FOLDERS = ("comfy_extras", "comfy_api_nodes")
_API_NODES = "comfy_api_nodes/"
_OWN = "serverless_comfyui"
_NOT_IMPORTED = ("custom_nodes", "tests", "tests-unit", "script_examples")


class IndexedPack(BaseModel):
    """What the import of a node pack did.

    Attributes:
        digest: The digest of its sources.
        classes: The ``class_type`` of every class that it registers.
        eager: Why it is imported at every start, or ``None``.
        routes: Whether it registers routes of ComfyUI's server.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    digest: str
    classes: tuple[str, ...]
    eager: str | None = None
    routes: bool = False


class NodeIndex(BaseModel):
    """The node classes of one ComfyUI, but for those of its ``nodes.py``, and of its packs.

    Attributes:
        comfyui_version: The release.
        comfyui_digest: The digest of its sources.
        environment: The digest of the installed packages' names and versions, on which the classes
            that a pack registers can depend.
        api_nodes: Whether ``comfy_api_nodes`` was observed.
        core: For each node file, as a path below ComfyUI's folder and in the order in which
            ComfyUI loads them, the ``class_type`` of every class that it defines.
        packs: Packs by the names of their folders or files.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    comfyui_version: str
    comfyui_digest: str
    environment: str
    api_nodes: bool
    core: dict[str, tuple[str, ...]]
    packs: dict[str, IndexedPack]

    def core_files(self, *, api_nodes: bool) -> dict[str, tuple[str, ...]]:
        """Return ComfyUI's node files with their classes, those of paid services if asked for."""
        return {
            file: classes
            for file, classes in self.core.items()
            if api_nodes or not file.startswith(_API_NODES)
        }


def read_node_index(base_dir: Path) -> NodeIndex | None:
    """Return the index that is kept in a folder; ``None`` if there is none that can be read."""
    try:
        return NodeIndex.model_validate_json((base_dir / INDEX_FILE).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        log.warning("the node index cannot be read", extra={"reason": str(error)[:200]})
        return None


def write_node_index(base_dir: Path, index: NodeIndex) -> Path:
    """Keep an index in a folder, whole or not at all.

    Raises:
        OSError: The folder cannot be written to.
    """
    path = base_dir / INDEX_FILE
    with tempfile.NamedTemporaryFile(
        "w", dir=base_dir, prefix=f".{INDEX_FILE}.", delete=False
    ) as file:
        file.write(index.model_dump_json(indent=1) + "\n")
    unfinished = Path(file.name)
    try:
        unfinished.chmod(0o644)
        unfinished.replace(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    return path


def misfit(
    index: NodeIndex | None, comfyui_dir: Path, packs: Iterable[Path], *, api_nodes: bool
) -> str | None:
    """Say why an index is not one of what is installed, or return ``None`` if it is."""
    if index is None:
        return "there is none"
    if index.comfyui_digest != digest_of_comfyui(comfyui_dir):
        return "ComfyUI's source is another one"
    if api_nodes and not index.api_nodes:
        return "it was made without the nodes of paid services"
    changed = [pack.name for pack in packs if not is_indexed(index, pack)]
    if changed:
        return f"packs are new or changed: {', '.join(changed)}"
    if index.packs and index.environment != digest_of_environment():
        return "packages were installed, changed or removed"
    return None


def is_indexed(index: NodeIndex, pack: Path) -> bool:
    """Say whether a pack is in an index as it is now."""
    entry = index.packs.get(pack.name)
    return entry is not None and entry.digest == digest_of_pack(pack)


def digest_of_comfyui(comfyui_dir: Path) -> str:
    """Return a digest of ComfyUI's Python files: of node files by content, of others by size.

    Times are left out: a checkout and a layer of an image set them anew.
    """
    read = (*(f"{folder}/" for folder in NODE_FOLDERS), "nodes.py", "comfyui_version.py")
    return _digest(
        (name, size, path if name.startswith(read) else "")
        for name, size, path in _python_files(comfyui_dir, _NOT_IMPORTED)
    )


def digest_of_pack(pack: Path) -> str:
    """Return a digest of a pack's Python files: of the topmost by content, of others by size."""
    if pack.is_file():
        return _digest([(pack.name, pack.stat().st_size, str(pack))])
    return _digest(
        (name, size, path if "/" not in name else "") for name, size, path in _python_files(pack)
    )


def digest_of_environment() -> str:
    """Return a digest of Python's version and the packages that are installed."""
    names = {
        name
        for folder in sys.path
        if folder
        for path in _listed(folder)
        if (name := path.name).endswith((".dist-info", ".egg-info")) and not name.startswith(_OWN)
    }
    return _hash([sys.version, *sorted(names)])


def declared_classes(file: Path) -> tuple[str, ...]:
    """Return the node classes that a file's text declares, for one that does not import."""
    found: dict[str, None] = {}
    for node in ast.walk(ast.parse(file.read_bytes())):
        match node:
            case ast.Assign(
                targets=[ast.Name(id="NODE_CLASS_MAPPINGS")], value=ast.Dict(keys=keys)
            ):
                names = [str(key.value) for key in keys if isinstance(key, ast.Constant)]
                found.update(dict.fromkeys(names))
            case ast.keyword(arg="node_id", value=ast.Constant(value=str(name))):
                found[name] = None
    return tuple(found)


def _listed(folder: str) -> list[Path]:
    with contextlib.suppress(OSError):  # a zip file, or a folder that is not there
        return list(Path(folder).iterdir())
    return []


def _python_files(folder: Path, skipped: tuple[str, ...] = ()) -> Iterator[tuple[str, int, str]]:
    """Yield each Python file below a folder: name relative to it, bytes, path."""
    start = len(str(folder)) + 1
    waiting = [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                name = entry.name
                if name.endswith(".py"):
                    yield entry.path[start:], entry.stat().st_size, entry.path
                elif (
                    name[0] != "."
                    and name != "__pycache__"
                    and entry.path[start:] not in skipped
                    and entry.is_dir()
                ):
                    waiting.append(entry.path)


def _digest(files: Iterable[tuple[str, int, str]]) -> str:
    """Digest names and sizes, and the content of those files whose path is given."""
    parts: list[str | bytes] = []
    for name, size, path in sorted(files):
        parts.append(f"{name}\0{size}")
        if path:
            with open(path, "rb") as file:  # noqa: PTH123 - a tenth of a cold start's time is at stake
                parts.append(file.read())
    return _hash(parts)


def _hash(parts: Iterable[str | bytes]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part.encode(errors="surrogateescape") if isinstance(part, str) else part)
        digest.update(b"\0")
    return digest.hexdigest()
