"""What the output nodes of a graph produced."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from comfyui_runtime.workflow.graph import NodeId
    from comfyui_runtime.workflow.images import PixelImage


# Under this key an output node of ours reports pixels in place of a file.
UI_KEY = "in_process_images"


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
        data: The file's bytes; the file itself is gone.
    """

    node_id: NodeId
    name: str
    data: bytes


Output = ImageOutput | FileOutput
NamedFile = tuple[str, bytes]
ReadFile = Callable[[object], NamedFile | None]


def collect_outputs(
    history: Mapping[NodeId, Mapping[str, Any]], read: ReadFile
) -> tuple[Output, ...]:
    """Return what the output nodes produced, in the order of their ids; pictures come first.

    Args:
        history: ComfyUI's report of each output node: lists of ``{filename, subfolder, type}``
            by kind (``images``, ``gifs``, ``audio``, ``video`` …), or pixels from our own node.
        read: Reads the file that an entry names.
    """
    ordered = sorted(history, key=_numeric_first)
    outputs = [
        output for node_id in ordered for output in _of_node(node_id, history[node_id], read)
    ]
    return tuple(sorted(outputs, key=lambda output: isinstance(output, FileOutput)))


def read_scratch_file(scratch: Path, entry: object) -> NamedFile | None:
    """Read the file that an entry names, if it names one below the scratch folder.

    Args:
        scratch: Folder with ``output/`` and ``temp/``.
        entry: A node's own report, of any type.
    """
    match entry:
        case {"filename": str() as name, "type": "output" | "temp" as folder, **more}:
            path = (scratch / folder / str(more.get("subfolder", "")) / name).resolve()
            inside = path.is_relative_to((scratch / folder).resolve())
            return (path.name, path.read_bytes()) if inside and path.is_file() else None
        case _:
            return None


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
        elif isinstance(entries, list | tuple):
            for entry in entries:
                file = read(entry)
                if file is not None:
                    yield FileOutput(node_id, *file)


def _numeric_first(node_id: NodeId) -> tuple[int, str]:
    return (int(node_id), "") if node_id.isdecimal() else (2**63, node_id)
