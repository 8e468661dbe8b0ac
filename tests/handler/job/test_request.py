from __future__ import annotations

import json

import pytest

from comfyui_runtime.errors import ParameterError, UnknownWorkflowError, WorkflowError
from handler.contract.job_id import JobId
from handler.job.request import read_request
from handler.settings import load_settings

GRAPH = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "photo.png"}},
    "2": {"class_type": "Noise", "inputs": {"image": ["1", 0], "noise": 0, "amount": 1}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0]}},
}
HEAD = 'title = "Noise"\ndescription = "Adds noise."\nversion = "1"\n'
IMAGE = '[images.image]\nnode = "1"\ndescription = "A photo."\n'
AMOUNT = """
[parameters.amount]
type = "integer"
default = 1
minimum = 0
maximum = 9
description = "How much."
patches = ["2.amount"]
"""
SEED = """
[parameters.noise]
type = "seed"
description = "Which noise."
patches = ["2.noise"]
"""


@pytest.fixture
def write(tmp_path):
    def write_files(manifest=HEAD + IMAGE + AMOUNT + SEED, graph=GRAPH):
        place = tmp_path / "noise"
        place.mkdir(exist_ok=True)
        (place / "manifest.toml").write_text(manifest)
        (place / "graph.json").write_text(json.dumps(graph))

    write_files()
    return write_files


@pytest.fixture
def request_of(write, tmp_path):
    def make(job_id="job-1", **job_input):
        data = {"id": job_id, "input": {"workflow": "noise", "image": "data:,x"} | job_input}
        return read_request(data, JobId.of(job_id), load_settings(workflows_dir=tmp_path))

    return make


def test_event_becomes_a_request_with_every_value(request_of):
    request = request_of(params={"noise": 7}, output={"format": "webp"})
    assert request.job_id == "job-1"
    assert request.workflow.name == "noise"
    assert request.values == {"amount": 1, "noise": 7}
    assert request.images == {"image": "data:,x"}
    assert request.output.format == "webp"


def test_seed_of_the_request_is_the_seed_parameters_whatever_its_name(request_of):
    assert request_of(params={"noise": 7}).seed == 7


def test_seed_that_was_not_given_is_drawn_and_told(request_of):
    first, second = request_of(), request_of()
    assert first.seed == first.values["noise"]
    assert first.seed != second.seed


def test_workflow_without_a_seed_has_none(request_of, write):
    write(HEAD + IMAGE + AMOUNT)
    assert request_of().seed is None


@pytest.mark.parametrize(
    ("job_input", "kind", "text"),
    [
        ({"workflow": "nope"}, UnknownWorkflowError, "Installed: noise"),
        ({"workflow": "../noise"}, UnknownWorkflowError, "Installed: noise"),
        ({"params": {"amount": 10}}, ParameterError, "must be from 0 to 9"),
        ({"params": {"amuont": 1}}, ParameterError, 'no parameter "amuont"'),
        ({"image": None}, ParameterError, 'needs the image "image"'),
        ({"images": {"mask": "data:,x"}}, ParameterError, 'takes no image "mask"'),
    ],
)
def test_event_that_its_workflow_cannot_carry_out_is_refused(request_of, job_input, kind, text):
    with pytest.raises(kind, match=text):
        request_of(**job_input)


def test_broken_workflow_is_told_apart_from_a_wrong_event(request_of, write):
    write(graph={})
    with pytest.raises(WorkflowError, match=r"noise/graph\.json"):
        request_of()


def test_fingerprint_is_that_of_what_is_asked_for(request_of):
    assert request_of().fingerprint == request_of().fingerprint
    assert len(request_of().fingerprint) == 64


def test_fingerprint_does_not_depend_on_the_job(request_of):
    assert request_of("job-1").fingerprint == request_of("job-2").fingerprint


def test_fingerprint_does_not_depend_on_the_seed_that_was_drawn(request_of):
    first, second = request_of(), request_of()
    assert first.seed != second.seed
    assert first.fingerprint == second.fingerprint


@pytest.mark.parametrize(
    "other",
    [
        {"params": {"amount": 2}},
        {"params": {"noise": 1}},
        {"image": "data:,y"},
        {"output": {"format": "webp"}},
        {"output": {"quality": 91}},
        {"output": {"prefix": "a"}},
        {"output": {"delivery": "base64"}},
        {"output": {"expires_in": 3600}},
    ],
)
def test_fingerprint_changes_with_what_is_asked_for(request_of, other):
    assert request_of(**other).fingerprint != request_of().fingerprint


def test_fingerprint_is_the_same_however_the_event_says_it(request_of):
    plain = request_of(params={"amount": 3, "noise": 1})
    turned = request_of(params={"noise": 1, "amount": 3})
    assert turned.fingerprint == plain.fingerprint
    named = request_of(image=None, images={"image": "data:,x"}, params=dict(plain.values))
    assert named.fingerprint == plain.fingerprint
    explicit = request_of(params=dict(plain.values), output={"format": "png", "quality": 90})
    assert explicit.fingerprint == plain.fingerprint


def test_fingerprint_changes_with_either_file_of_the_workflow(request_of, write):
    first = request_of().fingerprint
    write(HEAD + IMAGE + AMOUNT + SEED + "# changed\n")
    second = request_of().fingerprint
    changed = GRAPH | {"9": {"class_type": "Note", "inputs": {}}}
    write(graph=changed)
    third = request_of().fingerprint
    assert len({first, second, third}) == 3
