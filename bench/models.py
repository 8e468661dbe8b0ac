"""Whether models stay loaded when jobs of several workflows come in turn, and what that costs."""

from __future__ import annotations

import gc
import importlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.held import held
from bench.own_function import own_function
from bench.per_job import BenchmarkJobError
from bench.photos import as_base64, jpeg, photo
from bench.rows import Row, Spread
from bench.tiny_model import write_tiny_model
from handler.contract.response import Success

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.scale import Scale
    from handler.job.invoke import Function

_WORKFLOWS = ("one", "two", "three")
_SIDE = 512
_SETTLED_AFTER = 0.1
_MANIFEST = """
title = "Sample"
description = "One step with a model of its own."
version = "1"

[images.image]
node = "photo"
description = "A photo."

[parameters.text]
type = "string"
patches = ["text.text"]
default = "a text"
description = "What to draw."

[parameters.shift]
type = "number"
patches = ["patched.shift"]
default = 8.0
minimum = 1.0
maximum = 100.0
description = "How the steps are spread."
"""


def measure(scale: Scale) -> list[Row]:
    """Run jobs of three workflows in turn; compare a tenth of the way and at the end."""
    photos = [as_base64(jpeg(photo(_SIDE, number))) for number in range(20)]
    with tempfile.TemporaryDirectory() as folder:
        workflows, models = Path(folder) / "workflows", Path(folder) / "models"
        size = 0
        for seed, name in enumerate(_WORKFLOWS):
            _write_workflow(workflows / name, name)
            file = models / "diffusion_models" / f"{name}.safetensors"
            size += write_tiny_model(file, width=scale.model_width, seed=seed)
        settings = {"model_dirs": (models,)}
        with own_function(settings, workflows=workflows, node_pack=True) as function:
            loads = _counted_loads()
            early = max(len(_WORKFLOWS), int(scale.flat_jobs * _SETTLED_AFTER))
            _run_jobs(function, photos, range(early))
            first = _resident()
            _run_jobs(function, photos, range(early, scale.flat_jobs))
            last = _resident()

    group = f"{scale.flat_jobs} jobs, 3 workflows of {size // 3 / 1e6:.0f} MB in turn"
    return [
        Row(
            group=group,
            what="models loaded",
            unit="",
            ours=Spread.of([len(loads)]),
            other=Spread.of([len(_WORKFLOWS)]),
            compared_with="model files",
            goal="1",
        ),
        Row(
            group=group,
            what="resident memory",
            unit="MB",
            ours=Spread.of([last / 1e6]),
            other=Spread.of([first / 1e6]),
            compared_with=f"after {early}",
            goal="≤ 1.02",
        ),
    ]


def _counted_loads() -> list[str]:
    """Have the path of each diffusion model that ComfyUI loads added to the returned list."""
    sd: Any = importlib.import_module("comfy.sd")
    load, paths = sd.load_diffusion_model, []

    def counted(path: str, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - ComfyUI's
        paths.append(path)
        return load(path, *args, **options)

    sd.load_diffusion_model = counted
    return paths


def _run_jobs(function: Function, photos: list[str], numbers: Iterable[int]) -> None:
    for number in numbers:
        job_input = {
            "workflow": _WORKFLOWS[number % len(_WORKFLOWS)],
            "image": photos[number % len(photos)],
            # Each job differs, in the model's patch as well.
            "params": {"text": f"text {number}", "shift": 1.0 + number % 50},
            "output": {"delivery": "base64"},
        }
        response = function.answer({"id": f"job-{number}", "input": job_input})
        if not isinstance(response, Success):
            raise BenchmarkJobError(str(response))


def _resident() -> int:
    gc.collect()
    return held().memory


def _write_workflow(folder: Path, name: str) -> None:
    def node(class_type: str, **inputs: object) -> dict[str, object]:
        return {"class_type": class_type, "inputs": inputs}

    text = ["text", 0]
    graph = {
        "photo": node("LoadImage", image="photo.png"),
        "loader": node("UNETLoader", unet_name=f"{name}.safetensors", weight_dtype="default"),
        "patched": node("ModelSamplingSD3", model=["loader", 0], shift=8.0),
        "text": node("BenchText", text="a text", width=4096),
        "empty": node("EmptyHunyuanLatentVideo", width=64, height=64, length=1, batch_size=1),
        "sample": node(
            "KSampler",
            model=["patched", 0],
            positive=text,
            negative=text,
            latent_image=["empty", 0],
            seed=0,
            steps=1,
            cfg=1.0,
            sampler_name="euler",
            scheduler="simple",
            denoise=1.0,
        ),
        "tinted": node("BenchTint", image=["photo", 0], latent=["sample", 0]),
        "save": node("SaveImage", images=["tinted", 0], filename_prefix="x"),
    }
    folder.mkdir(parents=True)
    (folder / "graph.json").write_text(json.dumps(graph))
    (folder / "manifest.toml").write_text(_MANIFEST)
