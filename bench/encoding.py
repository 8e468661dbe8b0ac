"""Encoding of a result, against ComfyUI's own SaveImage."""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.own_function import own_function
from bench.photos import photo
from bench.rows import Row, Spread
from comfyui_runtime.in_process.comfy.pictures import ImageOutput
from comfyui_runtime.run.outputs import UI_KEY
from comfyui_runtime.run.outputs import ImageOutput as RunImage
from handler.contract.event import Output
from handler.job.encode import encode_image

if TYPE_CHECKING:
    from bench.scale import Scale

_SIDE = 1024
_FORMATS = (Output(format="png"), Output(format="webp", quality=100), Output(format="jpeg"))


def measure(scale: Scale) -> list[Row]:
    """Encode the same picture with each encoder in turn, from the graph's tensor to bytes."""
    times: dict[str, list[float]] = {output.format: [] for output in _FORMATS}
    sizes: dict[str, int] = {}
    save_times: list[float] = []
    save_size = 0
    with own_function():
        tensor = _tensor()
        for _ in range(scale.encodings):
            for output in _FORMATS:
                started = time.perf_counter()
                (image,) = ImageOutput().take(tensor)["ui"][UI_KEY]
                file = encode_image(RunImage("1", image), output, {})
                times[output.format].append((time.perf_counter() - started) * 1000)
                sizes[output.format] = file.size
            started = time.perf_counter()
            path = _save_image(tensor)
            save_times.append((time.perf_counter() - started) * 1000)
            save_size = path.stat().st_size
            path.unlink()

    def rows(output: Output) -> list[Row]:
        compared = {"group": f"encoding, {_SIDE} px", "compared_with": "SaveImage, png"}
        lossless = output.format != "jpeg"
        name = f"{output.format}, {'lossless' if lossless else f'quality {output.quality}'}"
        return [
            Row(
                what=name,
                unit="ms",
                ours=Spread.of(times[output.format]),
                other=Spread.of(save_times),
                goal="≤ 0.5" if lossless else "",
                **compared,
            ),
            Row(
                what=f"{name}, size",
                unit="kB",
                ours=Spread.of([sizes[output.format] / 1000]),
                other=Spread.of([save_size / 1000]),
                **compared,
            ),
        ]

    return [row for output in _FORMATS for row in rows(output)]


def _tensor() -> Any:  # noqa: ANN401 - a torch tensor
    torch = importlib.import_module("torch")
    return torch.from_numpy(photo(_SIDE).pixels[None].astype(np.float32) / np.float32(255))


def _save_image(tensor: Any) -> Path:  # noqa: ANN401 - a torch tensor
    folder = importlib.import_module("folder_paths").get_output_directory()
    saved = importlib.import_module("nodes").SaveImage().save_images(tensor)
    return Path(folder, saved["ui"]["images"][0]["filename"])
