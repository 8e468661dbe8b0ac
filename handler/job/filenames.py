"""The names that output nodes give their files."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from comfyui_runtime.run.outputs import FileOutput, ImageOutput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from comfyui_runtime.run.outputs import Output
    from comfyui_runtime.workflow.graph import Graph
    from handler.job.encode import EncodedFile

# The default of ComfyUI's own SaveImage.
_PREFIX = "ComfyUI"


def with_filenames(
    outputs: Sequence[Output], encoded: Sequence[EncodedFile], graph: Graph
) -> list[EncodedFile]:
    """Return the files with their names.

    Pictures were never files here: theirs are made as ``SaveImage`` makes them in an empty folder,
    with the ending of the format that they have.
    """
    counters: Counter[str] = Counter()
    named = []
    for output, file in zip(outputs, encoded, strict=True):
        name = None
        if isinstance(output, FileOutput):
            name = output.name
        elif isinstance(output, ImageOutput):
            prefix = _prefix(graph, output.node_id)
            counters[prefix] += 1
            name = f"{prefix.rpartition('/')[2]}_{counters[prefix]:05}_.{file.extension}"
        named.append(replace(file, filename=name))
    return named


def _prefix(graph: Graph, node_id: str) -> str:
    node = graph.nodes.get(node_id)
    prefix = None if node is None else node.inputs.get("filename_prefix")
    return prefix.replace("\\", "/") if isinstance(prefix, str) and prefix else _PREFIX
