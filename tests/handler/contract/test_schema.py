from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from comfyui_runtime.errors import ParameterError
from comfyui_runtime.workflow.graph import parse_graph
from comfyui_runtime.workflow.manifest import Manifest, Workflow
from comfyui_runtime.workflow.parameters import SEED_MAX, resolve_parameters
from comfyui_runtime.workflow.patch import check_image_names
from handler.contract.errors import EventError, StorageError
from handler.contract.event import parse_event
from handler.contract.job_id import JobId
from handler.contract.response import OutputFile, Success, Timings, failure
from handler.contract.schema import event_schema, response_schema, workflow_event_schema

IMAGE = "https://example.com/photo.jpg"
PARAMETERS = {
    "strength": {"type": "number", "default": 0.5, "minimum": 0, "maximum": 1.5},
    "steps": {"type": "integer", "default": 6, "minimum": 1, "maximum": 50},
    "seed": {"type": "seed"},
    "tags": {"type": "boolean", "default": True},
    "prompt": {"type": "string", "default": "a cat", "max_length": 20},
    "sampler": {"type": "choice", "default": "euler", "choices": ["euler", "heun"]},
}


def workflow(files=None, **images) -> Workflow:
    manifest = Manifest.model_validate(
        {
            "title": "T",
            "description": "Makes a picture.",
            "version": "1",
            "images": images,
            "files": files or {},
            "parameters": {
                name: {"description": f"The {name}."} | fields
                for name, fields in PARAMETERS.items()
            },
        }
    )
    graph = parse_graph({"1": {"class_type": "LoadImage", "inputs": {"image": "x"}}})
    return Workflow("ghibli", graph, manifest, "digest")


PHOTO = {"node": "1", "description": "A photo."}
MASK = {"node": "1", "description": "A mask.", "required": False}
WORKFLOW = workflow(image=PHOTO, mask=MASK)


EVENT_SCHEMA = event_schema()
WORKFLOW_SCHEMA = workflow_event_schema(WORKFLOW)
RESPONSE_SCHEMA = response_schema()


def accepts(schema, data) -> bool:
    return Draft202012Validator(schema).is_valid(data)


def event(**job_input):
    return {"input": {"workflow": "ghibli"} | job_input}


def is_event(data) -> bool:
    try:
        parse_event(data)
    except EventError:
        return False
    return True


ACCEPTED = [
    event(),
    event(image=IMAGE),
    event(image=None),
    event(images={"image": IMAGE, "mask": "data:,x"}),
    event(params={"steps": 6, "strength": 0.5, "tags": False, "prompt": "", "seed": 0}),
    event(output={}),
    event(
        output={
            "format": "webp",
            "quality": 100,
            "delivery": "base64",
            "url": "public",
            "expires_in": 604_800,
            "prefix": "a/b.c",
            "embed_workflow": True,
        }
    ),
    {"id": "job-1", "webhook": "https://x"} | event(),
    {"id": None} | event(),
    event(output={"webhook": {"url": "https://x", "events": ["progress"]}}),
]
REFUSED = [
    None,
    [],
    {},
    {"input": {}},
    {"id": 5} | event(),
    event(workflow=""),
    event(workflow=5),
    event(more=1),
    event(image=""),
    event(image=5),
    event(images={"a": ""}),
    event(images={"": IMAGE}),
    event(params={"a": None}),
    event(params={"a": [1]}),
    event(params={"x" * 101: 1}),
    event(output={"format": "gif"}),
    event(output={"quality": 0}),
    event(output={"expires_in": 604_801}),
    event(output={"prefix": "../a"}),
    event(output={"more": 1}),
    event(output={"webhook": {"events": ["done"]}}),
    event(output={"webhook": {"url": "https://x", "events": ["other"]}}),
]


@pytest.mark.parametrize("data", ACCEPTED)
def test_schema_of_events_accepts_what_is_accepted(data):
    assert is_event(data)
    assert accepts(EVENT_SCHEMA, data)


@pytest.mark.parametrize("data", REFUSED)
def test_schema_of_events_refuses_what_is_refused(data):
    assert not is_event(data)
    assert not accepts(EVENT_SCHEMA, data)


scalars = st.booleans() | st.integers(-5, 60) | st.floats(-2, 2) | st.text(max_size=4)


@given(
    st.fixed_dictionaries(
        {"workflow": st.just("ghibli") | scalars},
        optional={
            "image": st.just(IMAGE) | scalars,
            "params": st.dictionaries(st.sampled_from(sorted(PARAMETERS)), scalars, max_size=3),
            "output": st.dictionaries(
                st.sampled_from(["format", "quality", "prefix", "embed_workflow"]),
                scalars | st.sampled_from(["png", "jpeg"]),
            ),
        },
    )
)
def test_schema_of_events_accepts_whatever_the_function_accepts(job_input):
    data = {"input": job_input}
    if is_event(data):
        assert accepts(EVENT_SCHEMA, data)


def test_schema_says_what_each_field_is_for():
    definitions = event_schema()["$defs"]
    for name in ("JobInput", "Output"):
        for field in definitions[name]["properties"].values():
            assert field.get("description") or "$ref" in field


def test_schema_of_a_workflow_carries_the_bounds_of_its_parameters():
    properties = WORKFLOW_SCHEMA["$defs"]["JobInput"]["properties"]["params"]["properties"]
    assert properties == {
        "strength": {
            "type": "number",
            "minimum": 0,
            "maximum": 1.5,
            "default": 0.5,
            "description": "The strength.",
        },
        "steps": {
            "type": "integer",
            "minimum": 1,
            "maximum": 50,
            "default": 6,
            "description": "The steps.",
        },
        "seed": {
            "type": "integer",
            "minimum": 0,
            "maximum": SEED_MAX,
            "description": "The seed.",
        },
        "tags": {"type": "boolean", "default": True, "description": "The tags."},
        "prompt": {
            "type": "string",
            "maxLength": 20,
            "default": "a cat",
            "description": "The prompt.",
        },
        "sampler": {
            "enum": ["euler", "heun"],
            "default": "euler",
            "description": "The sampler.",
        },
    }


@pytest.mark.parametrize(
    "job_input",
    [
        {"image": IMAGE},
        {"images": {"image": IMAGE, "mask": "data:,x"}},
        {"image": IMAGE, "images": {"mask": "data:,x"}, "params": {"steps": 50, "seed": SEED_MAX}},
        {"image": IMAGE, "params": {"sampler": "heun", "prompt": "x" * 20, "strength": 1}},
    ],
)
def test_schema_of_a_workflow_accepts_what_it_takes(job_input):
    assert accepts(WORKFLOW_SCHEMA, event(**job_input))


@pytest.mark.parametrize(
    "job_input",
    [
        {"workflow": "other", "image": IMAGE},
        {"image": IMAGE, "images": {"photo": IMAGE}},
        {"image": IMAGE, "params": {"stepz": 5}},
        {"image": IMAGE, "params": {"steps": 51}},
        {"image": IMAGE, "params": {"steps": "6"}},
        {"image": IMAGE, "params": {"strength": -0.1}},
        {"image": IMAGE, "params": {"seed": -1}},
        {"image": IMAGE, "params": {"tags": 1}},
        {"image": IMAGE, "params": {"prompt": "x" * 21}},
        {"image": IMAGE, "params": {"sampler": "ddim"}},
        {"image": ""},
        {"images": {"image": ""}},
    ],
)
def test_schema_of_a_workflow_refuses_what_it_does_not_take(job_input):
    assert not accepts(WORKFLOW_SCHEMA, event(**job_input))


def test_schema_of_a_workflow_without_an_image_has_no_field_for_one():
    schema = workflow_event_schema(workflow())
    assert accepts(schema, event())
    assert not accepts(schema, event(image=IMAGE))
    assert not accepts(schema, event(images={"image": IMAGE}))


def test_schema_of_a_workflow_demands_its_named_images():
    schema = workflow_event_schema(workflow(left=PHOTO, right=PHOTO, mask=MASK))
    both = {"left": IMAGE, "right": IMAGE}
    assert accepts(schema, event(images=both))
    assert accepts(schema, event(images=both | {"mask": IMAGE}))
    assert not accepts(schema, event(images={"left": IMAGE}))
    assert not accepts(schema, event())


def test_schema_of_a_workflow_demands_its_one_image_under_either_name():
    assert not accepts(WORKFLOW_SCHEMA, event())
    assert not accepts(WORKFLOW_SCHEMA, event(image=None))
    assert not accepts(WORKFLOW_SCHEMA, event(images={"mask": IMAGE}))


@given(
    st.dictionaries(st.sampled_from(sorted(PARAMETERS)), scalars, max_size=3),
    st.sets(st.sampled_from(["image", "mask", "photo"])),
)
def test_schema_of_a_workflow_agrees_with_its_checks(params, names):
    accepted = accepts(
        WORKFLOW_SCHEMA,
        event(params=params, images=dict.fromkeys(names, IMAGE)),
    )
    try:
        resolve_parameters(WORKFLOW.manifest.parameters, params)
        check_image_names(WORKFLOW, names)
    except ParameterError:
        # JSON Schema takes 2.0 for an integer.
        whole = {"steps", "seed"} & params.keys()
        assert not accepted or any(type(params[name]) is float for name in whole)
    else:
        assert accepted


def test_narrowing_the_schema_to_a_workflow_leaves_the_general_one_alone():
    assert event_schema() == EVENT_SCHEMA


@pytest.mark.parametrize("schema", [EVENT_SCHEMA, WORKFLOW_SCHEMA, RESPONSE_SCHEMA])
def test_schemas_are_schemas_and_can_be_written_as_json(schema):
    Draft202012Validator.check_schema(json.loads(json.dumps(schema, allow_nan=False)))


SUCCESS = Success(
    job_id="job-1",
    workflow="ghibli",
    workflow_version="1",
    seed=None,
    outputs=[
        OutputFile(
            url="https://x/0.png",
            key="job-1/0.png",
            node_id="9",
            content_type="image/png",
            width=64,
            height=48,
            bytes=5,
            sha256="0" * 64,
        ),
        OutputFile(
            base64="aGVsbG8=",
            node_id="10",
            content_type="video/mp4",
            width=None,
            height=None,
            bytes=5,
            sha256="0" * 64,
        ),
    ],
    timings=Timings(fetch=0.1, validate=0.1, queue=0, run=5, encode=0.1, store=0.1, total=5.4),
    reused=False,
    cold_start=True,
)
FAILURE = failure(JobId.of("job-1"), StorageError("Refused.", kept=["/kept/0.png"], status=403))


@pytest.mark.parametrize("response", [SUCCESS, FAILURE], ids=["success", "failure"])
def test_responses_follow_their_schema(response):
    data = json.loads(json.dumps(response.to_json(), allow_nan=False))
    assert accepts(RESPONSE_SCHEMA, data)
    for field in data:
        assert not accepts(RESPONSE_SCHEMA, {k: v for k, v in data.items() if k != field})


@pytest.mark.parametrize(
    "data", [{}, {"status": "succeeded"}, FAILURE.to_json() | {"error": "text"}, None]
)
def test_schema_of_responses_refuses_what_is_none(data):
    assert not accepts(RESPONSE_SCHEMA, data)


def test_the_schema_of_a_workflow_names_its_files():
    clip = {"node": "1", "media": "video", "description": "A clip.", "input": "image"}
    schema = workflow_event_schema(workflow({"clip": clip}))
    given = {"workflow": "ghibli", "files": {"clip": IMAGE}}
    assert accepts(schema, {"input": given})
    assert not accepts(schema, {"input": {"workflow": "ghibli"}})
    assert not accepts(schema, {"input": given | {"files": {"clip": IMAGE, "more": IMAGE}}})
    assert not accepts(WORKFLOW_SCHEMA, {"input": given | {"image": IMAGE}})


def test_a_text_fits_the_schema_of_a_response():
    text = OutputFile(
        kind="text",
        text="a cat",
        node_id="3",
        content_type="text/plain; charset=utf-8",
        width=None,
        height=None,
        bytes=5,
        sha256="0",
    )
    schema = {**RESPONSE_SCHEMA, "anyOf": None, "$ref": "#/$defs/OutputFile"}
    del schema["anyOf"]
    assert accepts(schema, text.model_dump(mode="json"))
