"""Graphs that tests of both runtimes run."""

from __future__ import annotations

import numpy as np

from comfyui_runtime.run.cancellation import Cancellation
from comfyui_runtime.run.runtime import RunResult, Runtime
from comfyui_runtime.workflow.graph import parse_graph
from comfyui_runtime.workflow.images import PixelImage
from comfyui_runtime.workflow.patch import PatchedGraph


def chain(photo: PixelImage, class_type: str, **inputs: object) -> PatchedGraph:
    """A photo through one node into a picture."""
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "photo.png"}},
        "2": {
            "class_type": class_type,
            "inputs": {"image": ["1", 0], **inputs},
            "_meta": {"title": "The node"},
        },
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}},
    }
    return PatchedGraph(parse_graph(graph), {"1": photo})


def run(runtime: Runtime, patched: PatchedGraph, on_progress=None, timeout=60.0) -> RunResult:
    return runtime.run(patched, Cancellation(timeout), on_progress)


def assert_next_job_runs(runtime: Runtime, photo: PixelImage) -> None:
    result = run(runtime, chain(photo, "ImageInvert"))
    inverted = 255 - photo.pixels.astype(int)
    # ComfyUI truncates to whole numbers, so a value may end one lower.
    assert np.abs(inverted - result.outputs[0].image.pixels).max() <= 1
