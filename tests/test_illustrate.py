"""The bundled model-free workflow, through the function, on the real ComfyUI."""

from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from places import PROJECT

from comfyui_runtime.workflow.manifest import load_workflow
from comfyui_runtime.workflow.parameters import IntegerParameter, NumberParameter
from handler.inputs import InputFetcher
from handler.job.invoke import Function
from handler.job.kept import open_kept_results
from handler.job.results import Delivery
from handler.settings import load_settings
from handler.shelf import open_storage

PARAMETERS = load_workflow(PROJECT / "workflows", "illustrate").manifest.parameters
SMALL = {"megapixels": 0.1}
BOUNDS = [
    (name, bound)
    for name, parameter in PARAMETERS.items()
    if isinstance(parameter, NumberParameter | IntegerParameter) and name not in SMALL
    for bound in (parameter.minimum, parameter.maximum)
]


def data_uri(picture: Image.Image) -> str:
    file = BytesIO()
    picture.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


@pytest.fixture(scope="module")
def sample() -> Image.Image:
    with Image.open(PROJECT / "samples" / "lake.jpg") as picture:
        return picture.convert("RGB").resize((400, 300), Image.Resampling.LANCZOS)


@pytest.fixture
def illustrate(runtime, tmp_path):
    settings = load_settings(device="cpu", results_dir=tmp_path)
    delivery = Delivery(open_storage(settings), open_kept_results(settings))
    function = Function(settings, runtime, InputFetcher(settings), delivery)

    def run(picture: Image.Image, **params: object) -> np.ndarray:
        job_input = {
            "workflow": "illustrate",
            "image": data_uri(picture),
            "params": SMALL | params,
            "output": {"delivery": "base64"},
        }
        response = function.answer({"input": job_input})
        assert response.status == "succeeded", response
        with Image.open(BytesIO(base64.b64decode(response.outputs[0].base64))) as result:
            return np.asarray(result)

    return run


def test_picture_keeps_its_shape_at_the_size_asked_for(illustrate, sample):
    result = illustrate(sample, megapixels=0.1)
    height, width, channels = result.shape
    assert channels == 3
    assert width * height == pytest.approx(0.1 * 1024 * 1024, rel=0.01)
    assert width / height == pytest.approx(4 / 3, rel=0.01)


def test_lines_are_drawn_dark_and_only_where_asked_for(illustrate, sample):
    without, light, strong = (
        illustrate(sample, line_strength=strength).astype(int) for strength in (0.0, 0.3, 1.0)
    )
    assert (without >= light).mean() > 0.99
    assert (light >= strong).mean() > 0.99
    assert (strong.max(axis=2) < 40).mean() > (without.max(axis=2) < 40).mean() + 0.01


def test_fewer_shades_make_flatter_areas(illustrate, sample):
    def flat_share(shades: int) -> float:
        quiet = {"paper": 0.0, "softness": 0.0, "line_strength": 0.0}
        grey = illustrate(sample, shades=shades, **quiet).astype(int).sum(axis=2)
        return float((np.abs(np.diff(grey, axis=1)) <= 3).mean())

    assert flat_share(3) > flat_share(16)


@pytest.mark.parametrize(("name", "bound"), BOUNDS)
def test_every_bound_of_every_parameter_gives_a_picture(illustrate, sample, name, bound):
    result = illustrate(sample, **{name: bound})
    assert result.std() > 10


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3)])
def test_odd_shapes_are_no_problem(illustrate, size):
    result = illustrate(Image.new("RGB", size, (200, 120, 40)))
    assert result.size > 0
