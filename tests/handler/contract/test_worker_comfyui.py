from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from handler.contract.answer import answer_of
from handler.contract.errors import EventError, InputError
from handler.contract.event import parse_event, without_secrets
from handler.contract.job_id import JobId
from handler.contract.response import OutputFile, Success, Timings, failure
from handler.contract.schema import event_schema
from handler.contract.worker_comfyui import shape_of

GRAPH = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "dot.png"}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "result"}},
}
IMAGES = [{"name": "dot.png", "image": "data:image/png;base64,iVBORw0KGgo="}]
KEY = "comfyui-87d01e28d"
SCHEMA = Draft202012Validator(event_schema())


def event(**job_input):
    return {"input": {"workflow": GRAPH} | job_input}


def is_event(data) -> bool:
    try:
        parse_event(data)
    except EventError:
        return False
    return True


def test_event_of_worker_comfyui_is_read():
    parsed = parse_event({"id": "job-1", **event(images=IMAGES, comfy_org_api_key=KEY)})
    assert parsed.id == "job-1"
    assert parsed.shape == "worker-comfyui"
    assert parsed.input.workflow == GRAPH
    assert parsed.input.named_images == {"dot.png": IMAGES[0]["image"]}
    assert parsed.input.comfy_org_api_key.get_secret_value() == KEY


def test_its_results_are_whole_files_handed_over_as_the_bucket_says():
    assert parse_event(event()).input.output.delivery == "base64"
    output = parse_event(event(), has_bucket=True).input.output
    assert (output.delivery, output.format, output.embed_workflow) == ("url", "png", True)


@pytest.mark.parametrize(
    "job_input", [{}, {"images": None}, {"images": []}, {"images": IMAGES, "seed": 5}]
)
def test_graph_without_a_field_of_this_projects_own_is_worker_comfyuis(job_input):
    assert shape_of(event(**job_input)) == "worker-comfyui"
    assert is_event(event(**job_input))
    assert SCHEMA.is_valid(event(**job_input))


@pytest.mark.parametrize(
    "job_input",
    [
        {"output": {}},
        {"images": {"dot.png": "data:,x"}},
        {"image": "data:,x"},
        {"params": {}},
        {"workflow": "invert"},
        {"workflow": "invert", "comfy_org_api_key": KEY},
    ],
)
def test_any_field_of_this_projects_own_makes_the_event_its_own(job_input):
    assert shape_of(event(**job_input)) == "own"
    assert parse_event(event(**job_input)).shape == "own"
    assert SCHEMA.is_valid(event(**job_input))


@pytest.mark.parametrize(
    ("job_input", "field"),
    [
        ({"workflow": {}}, "input.workflow"),
        ({"images": "dot.png"}, "input.images"),
        ({"images": ["dot.png"]}, "input.images.0"),
        ({"images": [{"name": "dot.png"}]}, "input.images.0.image"),
        ({"images": [{"image": "data:,x"}]}, "input.images.0.name"),
        ({"images": [{"name": "", "image": "data:,x"}]}, "input.images.0.name"),
        ({"images": [{"name": "dot.png", "image": 5}]}, "input.images.0.image"),
        ({"comfy_org_api_key": 5}, "input.comfy_org_api_key"),
        ({"output": {"format": "gif"}}, "input.output.format"),
        ({"images": {"dot.png": 5}}, "input.images.dot.png"),
    ],
)
def test_what_is_wrong_names_the_field(job_input, field):
    with pytest.raises(EventError) as caught:
        parse_event(event(**job_input))
    assert [problem["field"] for problem in caught.value.details["problems"]] == [field]
    assert not SCHEMA.is_valid(event(**job_input))


def test_of_two_images_with_one_name_the_last_one_counts():
    two = [*IMAGES, {"name": "dot.png", "image": "data:,second"}]
    assert parse_event(event(images=two)).input.named_images == {"dot.png": "data:,second"}


def test_input_may_be_a_json_text_in_either_shape():
    text = json.dumps(event(images=IMAGES)["input"])
    assert parse_event({"input": text}) == parse_event(event(images=IMAGES))
    assert shape_of({"input": text}) == "worker-comfyui"
    own = parse_event({"input": json.dumps({"workflow": "invert"})})
    assert (own.shape, own.input.workflow) == ("own", "invert")


@pytest.mark.parametrize("text", ["", "x", "[]", "5", "null", '"text"', "{", "[" * 100_000])
def test_text_that_holds_no_input_is_refused(text):
    assert not is_event({"input": text})
    assert shape_of({"input": text}) == "own"


def test_key_is_neither_shown_nor_written_down():
    given = event(images=IMAGES, comfy_org_api_key=KEY)
    assert KEY not in repr(parse_event(given))
    for taken in (given, {"input": json.dumps(given["input"])}):
        assert KEY not in json.dumps(without_secrets(taken))
        assert parse_event(without_secrets(taken)) == parse_event(event(images=IMAGES))
    with pytest.raises(EventError) as caught:
        parse_event(event(comfy_org_api_key=KEY, images=5))
    assert KEY not in str(caught.value)


def test_events_without_a_key_are_written_down_as_they_are():
    for taken in (event(), {"input": "x"}, None, {"input": 5}):
        assert without_secrets(taken) is taken


def output(**fields) -> OutputFile:
    complete = {"node_id": "2", "content_type": "image/png", "width": 2, "height": 2, "bytes": 7}
    return OutputFile.model_validate(complete | {"sha256": "0"} | fields)


def success(*outputs: OutputFile, warnings: tuple[str, ...] = ()) -> Success:
    phases = ("fetch", "validate", "queue", "run", "encode", "store", "total")
    return Success(
        job_id="job-1",
        workflow="(graph)",
        workflow_version="1",
        seed=None,
        outputs=list(outputs),
        timings=Timings.model_validate(dict.fromkeys(phases, 0.0)),
        reused=False,
        cold_start=False,
        warnings=list(warnings),
    )


def test_success_of_its_shape():
    inline = output(filename="result_00001_.png", base64="iVBO")
    stored = output(filename="clip_00001_.mp4", url="https://bucket.test/a", key="job-1/1.mp4")
    assert answer_of(success(inline, stored).shaped("worker-comfyui")) == {
        "images": [
            {"filename": "result_00001_.png", "type": "base64", "data": "iVBO"},
            {"filename": "clip_00001_.mp4", "type": "s3_url", "data": "https://bucket.test/a"},
        ]
    }


def test_success_without_outputs_says_so_in_its_words():
    assert answer_of(success().shaped("worker-comfyui")) == {
        "status": "success_no_images",
        "images": [],
    }


def test_warnings_are_its_errors_beside_a_result():
    told = answer_of(success(output(base64="x"), warnings=("late",)).shaped("worker-comfyui"))
    assert told["errors"] == ["late"]


def test_file_whose_name_is_not_known_has_that_of_its_key():
    told = answer_of(success(output(url="https://x", key="job-1/0.png")).shaped("worker-comfyui"))
    assert told["images"][0]["filename"] == "0.png"


def test_failure_of_its_shape_is_a_text_and_texts():
    error = InputError("The picture is broken.", image="dot.png", max_bytes=5)
    told = answer_of(failure(JobId("job-1"), error).shaped("worker-comfyui"))
    assert told == {
        "error": "The picture is broken.",
        "details": ["code: invalid_input", "retryable: false", "image: dot.png", "max_bytes: 5"],
    }


def test_own_shape_is_the_response_itself():
    assert answer_of(success()) == success().to_json()
    assert "shape" not in success().shaped("worker-comfyui").to_json()


names = st.text(min_size=1, max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=10,
)
graphs = st.dictionaries(
    st.integers(1, 99).map(str),
    st.fixed_dictionaries(
        {"class_type": names, "inputs": st.dictionaries(names, json_values, max_size=3)}
    ),
    min_size=1,
    max_size=4,
)


@given(
    graphs,
    st.none() | st.lists(st.fixed_dictionaries({"name": names, "image": names}), max_size=3),
    st.dictionaries(st.text(alphabet="xyz", min_size=1), json_values, max_size=2),
)
def test_every_graph_and_list_of_images_is_read_as_it_is(graph, images, more):
    job_input = {**more, "workflow": graph, "images": images}
    before = copy.deepcopy(job_input)
    parsed = parse_event({"input": job_input})
    assert parsed.shape == "worker-comfyui"
    assert parsed.input.workflow == graph
    assert parsed.input.named_images == {one["name"]: one["image"] for one in images or ()}
    assert job_input == before
    assert parse_event({"input": json.dumps(job_input)}) == parsed
    assert SCHEMA.is_valid({"input": job_input})


@given(st.one_of(json_values, st.fixed_dictionaries({"input": json_values | graphs})))
def test_whatever_comes_is_read_or_refused_and_has_a_shape(data):
    assert shape_of(data) in {"own", "worker-comfyui"}
    without_secrets(data)
    if is_event(data):
        assert SCHEMA.is_valid(data)


@given(
    st.fixed_dictionaries(
        {"workflow": graphs | st.just("invert") | json_values},
        optional={
            "images": st.just(IMAGES) | st.just({"dot.png": "data:,x"}) | json_values,
            "output": st.just({}) | json_values,
            "image": json_values,
            "params": json_values,
            "comfy_org_api_key": json_values,
        },
    )
)
def test_schema_of_events_accepts_graphs_that_are_accepted_and_no_others(job_input):
    data = {"input": job_input}
    assert SCHEMA.is_valid(data) == is_event(data)
