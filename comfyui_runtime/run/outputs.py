"""What the output nodes of a graph produced."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from comfyui_runtime.workflow.graph import NodeId
    from comfyui_runtime.workflow.images import PixelImage


# Under this key an output node of ours reports pixels in place of a file.
UI_KEY = "in_process_images"

TEXT_KEYS = frozenset({"text", "string", "tags", "value"})
"""Under these keys output nodes report what is to be read: ComfyUI's own say ``text``."""
MAX_IN_MEMORY = 4 * 1024 * 1024
"""Bytes of a file that is read at once; a larger one stays on the disk."""
_MODEL_KEY = "result"  # Preview3D and its like: a model's path, then what the viewer needs
_MADE = "made"


@dataclass(frozen=True)
class ImageOutput:
    """A picture as pixels, not yet encoded."""

    node_id: NodeId
    image: PixelImage


@dataclass(frozen=True)
class FileOutput:
    """A file that an output node wrote: video, audio, an animation, a latent.

    Attributes:
        name: The file's name, with its ending.
        data: The file's bytes, the file itself being gone; of a large one, where it is. Whoever
            takes the output removes that file, by :meth:`discard`.
    """

    node_id: NodeId
    name: str
    data: bytes | Path = field(repr=False)

    def discard(self) -> None:
        """Remove the file, if it is on the disk."""
        if isinstance(self.data, Path):
            self.data.unlink(missing_ok=True)


@dataclass(frozen=True)
class TextOutput:
    """A text that an output node shows: a caption, a prompt, a number."""

    node_id: NodeId
    text: str


class Reports:
    """What the output nodes of a job's prompts reported; nearly every job has one prompt.

    Attributes:
        by_node: By kind, the entries of all prompts.
    """

    def __init__(self) -> None:
        self.by_node: dict[NodeId, dict[str, Any]] = {}
        self._added: list[Mapping[str, Any]] = []

    def add(self, history: Mapping[NodeId, Mapping[str, Any]]) -> None:
        """Add a prompt's. One that ComfyUI repeats, for its node did not run again, is left out."""
        for node_id, report in history.items():
            if any(report is one for one in self._added):
                continue
            self._added.append(report)
            known = self.by_node.setdefault(node_id, {})
            for kind, entries in report.items():
                if isinstance(entries, list | tuple):
                    known[kind] = [*known.get(kind, ()), *entries]
                else:
                    known[kind] = entries


Output = ImageOutput | FileOutput | TextOutput
NamedFile = tuple[str, bytes | Path]
ReadFile = Callable[[object], NamedFile | None]


def collect_outputs(
    history: Mapping[NodeId, Mapping[str, Any]], read: ReadFile
) -> tuple[Output, ...]:
    """Return what the output nodes produced: pictures, then files, then texts, each by node id.

    Args:
        history: ComfyUI's report of each output node: lists of ``{filename, subfolder, type}``
            by kind (``images``, ``gifs``, ``audio``, ``video`` …), texts, or pixels from our own
            node.
        read: Reads the file that an entry names.
    """
    ordered = sorted(history, key=_numeric_first)
    outputs = [
        output for node_id in ordered for output in _of_node(node_id, history[node_id], read)
    ]
    return in_order(outputs)


def in_order(outputs: Iterable[Output]) -> tuple[Output, ...]:
    """Return pictures first, then files, then texts, each in the order given."""
    kinds = (ImageOutput, FileOutput, TextOutput)
    return tuple(sorted(outputs, key=lambda output: kinds.index(type(output))))


def read_scratch_file(
    scratch: Path, entry: object, max_in_memory: int = MAX_IN_MEMORY
) -> NamedFile | None:
    """Take the file that an entry names, if it names one below the scratch folder.

    Args:
        scratch: Folder with ``output/`` and ``temp/``.
        entry: A node's own report, of any type.
        max_in_memory: A file of more bytes is moved aside, out of what :func:`clear_scratch`
            empties.
    """
    match entry:
        case {"filename": str() as name, "type": "output" | "temp" as folder, **more}:
            path = (scratch / folder / str(more.get("subfolder", "")) / name).resolve()
            inside = path.is_relative_to((scratch / folder).resolve())
            return _taken(scratch, path, max_in_memory) if inside and path.is_file() else None
        case _:
            return None


def _taken(scratch: Path, path: Path, max_in_memory: int) -> NamedFile:
    if path.stat().st_size <= max_in_memory:
        return path.name, path.read_bytes()
    made = scratch / _MADE
    made.mkdir(exist_ok=True)
    return path.name, path.rename(made / uuid4().hex)


def clear_scratch(scratch: Path) -> None:
    """Remove every file that the last run left behind."""
    for name in ("input", "output", "temp"):
        with os.scandir(scratch / name) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry)
                else:
                    Path(entry).unlink()


def _of_node(node_id: NodeId, report: Mapping[str, Any], read: ReadFile) -> Iterator[Output]:
    for kind, entries in report.items():
        if kind == UI_KEY:
            yield from (ImageOutput(node_id, image) for image in entries)
        elif kind in TEXT_KEYS:
            yield from (TextOutput(node_id, text) for text in _texts(entries))
        elif isinstance(entries, list | tuple):
            for entry in entries:
                file = read(_named_model(entry) if kind == _MODEL_KEY else entry)
                if file is not None:
                    yield FileOutput(node_id, *file)


def _texts(entries: object) -> Iterator[str]:
    for entry in entries if isinstance(entries, list | tuple) else [entries]:
        text = entry if isinstance(entry, str) else json.dumps(entry, default=str)
        # JSON in UTF-8 cannot say half of a surrogate pair.
        yield text.encode(errors="replace").decode()


def _named_model(entry: object) -> object:
    """Return the entry that names a model's file, given its path below the output folder."""
    if not isinstance(entry, str):
        return None
    path = entry.replace("\\", "/").removesuffix(" [output]")
    return {"filename": path, "type": "output"}


def _numeric_first(node_id: NodeId) -> tuple[int, str]:
    return (int(node_id), "") if node_id.isdecimal() else (2**63, node_id)
