from __future__ import annotations

import json
import math
import traceback

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from handler.contract.errors import EventError
from handler.contract.event import Output, parse_event

IMAGE = "https://example.com/photo.jpg"
SECRET = "iVBORw0KGgoAAAANSUhEUgSECRET"
OUTPUT = {
    "format": "webp",
    "quality": 80,
    "delivery": "base64",
    "url": "public",
    "expires_in": 60,
    "prefix": "customer-7/avatars",
    "embed_workflow": True,
    "reuse": True,
    "webhook": {"url": "https://example.com/hook", "events": ("done", "progress")},
}


def event(**job_input):
    return {"input": {"workflow": "ghibli"} | job_input}


def refused(data) -> EventError:
    with pytest.raises(EventError) as caught:
        parse_event(data)
    return caught.value


def problems(data) -> dict[str, str]:
    """What is wrong, by field; each field has one problem."""
    listed = refused(data).details["problems"]
    by_field = {problem["field"]: problem["problem"] for problem in listed}
    assert len(by_field) == len(listed)
    return by_field


def test_every_field_of_the_contract_is_read():
    parsed = parse_event(
        {
            "id": "job-1",
            "input": {
                "workflow": "ghibli",
                "images": {"image": IMAGE, "mask": "s3://bucket/mask.png"},
                "params": {"steps": 6, "cfg": 2.5, "tags": False, "prompt": "a cat"},
                "output": OUTPUT,
            },
        }
    )
    assert parsed.id == "job-1"
    assert parsed.input.workflow == "ghibli"
    assert parsed.input.named_images == {"image": IMAGE, "mask": "s3://bucket/mask.png"}
    assert parsed.input.params == {"steps": 6, "cfg": 2.5, "tags": False, "prompt": "a cat"}
    assert parsed.input.output == Output.model_validate(OUTPUT)
    assert parsed.input.output.model_dump() == OUTPUT | {"put_urls": ()}


def test_addresses_for_results_are_read():
    given = ["https://example.com/a?s=1", "http://example.com/b"]
    assert parse_event(event(output={"put_urls": given})).input.output.put_urls == tuple(given)


def test_whole_number_may_be_written_with_a_fraction():
    """JSON has one kind of number, and JSON Schema calls 40.0 an integer."""
    output = parse_event(event(output={"quality": 40.0, "expires_in": 6e1})).input.output
    assert (output.quality, output.expires_in) == (40, 60)
    assert set(problems(event(output={"quality": 40.5}))) == {"input.output.quality"}


def test_what_is_not_given_has_its_default():
    parsed = parse_event(event())
    assert parsed.id is None
    assert parsed.input.named_images == {}
    assert parsed.input.params == {}
    assert parsed.input.output.model_dump() == {
        "format": "png",
        "quality": 90,
        "delivery": "url",
        "url": "presigned",
        "expires_in": 86_400,
        "prefix": "",
        "embed_workflow": False,
        "reuse": False,
        "put_urls": (),
        "webhook": None,
    }


def test_single_image_is_the_one_named_image():
    parsed = parse_event(event(image=IMAGE, images={"mask": "data:,x"}))
    assert parsed.input.named_images == {"image": IMAGE, "mask": "data:,x"}


def test_null_image_is_none():
    assert parse_event(event(image=None)).input.named_images == {}


def test_image_given_twice_is_refused():
    error = refused(event(image=IMAGE, images={"image": IMAGE}))
    assert error.details["problems"] == [
        {"field": "input", "problem": "give the photo as image or as images.image, not as both"}
    ]


def test_fields_that_a_platform_puts_beside_input_are_ignored():
    parsed = parse_event(
        {"webhook": "https://x", "policy": {"ttl": 1}, "s3Config": None} | event(image=IMAGE)
    )
    assert parsed.input.image == IMAGE


@pytest.mark.parametrize("data", [None, [], "event", 5, [event()]])
def test_what_is_no_object_is_refused(data):
    assert set(problems(data)) == {"event"}


def test_empty_event_names_what_is_missing():
    assert problems({}) == {"input": "Field required"}
    assert problems({"input": {}}) == {"input.workflow": "Field required"}


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (event(wokflow="x"), "input.wokflow"),
        (event(img=IMAGE), "input.img"),
        (event(output={"fromat": "png"}), "input.output.fromat"),
        (event(output={"bucket": "mine"}), "input.output.bucket"),
    ],
)
def test_field_that_is_not_in_the_contract_is_refused(data, field):
    assert problems(data) == {field: "Extra inputs are not permitted"}


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"id": 5} | event(), "id"),
        ({"id": ""} | event(), "id"),
        ({"id": "x" * 201} | event(), "id"),
        ({"input": None}, "input"),
        ({"input": "x"}, "input"),
        ({"input": []}, "input"),
        (event(workflow=None), "input.workflow"),
        (event(workflow=5), "input.workflow"),
        (event(workflow=""), "input.workflow"),
        (event(workflow="x" * 101), "input.workflow"),
        (event(image=5), "input.image"),
        (event(image=""), "input.image"),
        (event(image=[IMAGE]), "input.image"),
        (event(image={"url": IMAGE}), "input.image"),
        (event(images=[IMAGE]), "input.images"),
        (event(images={"a": ""}), "input.images.a"),
        (event(images={"a": None}), "input.images.a"),
        (event(params=[]), "input.params"),
        (event(params=None), "input.params"),
        (event(params={"a": None}), "input.params.a"),
        (event(params={"a": [1]}), "input.params.a"),
        (event(params={"a": {"b": 1}}), "input.params.a"),
        (event(output=None), "input.output"),
        (event(output="png"), "input.output"),
        (event(output={"format": "PNG"}), "input.output.format"),
        (event(output={"format": "gif"}), "input.output.format"),
        (event(output={"quality": 0}), "input.output.quality"),
        (event(output={"quality": 101}), "input.output.quality"),
        (event(output={"quality": "90"}), "input.output.quality"),
        (event(output={"quality": 90.5}), "input.output.quality"),
        (event(output={"quality": True}), "input.output.quality"),
        (event(output={"delivery": "ftp"}), "input.output.delivery"),
        (event(output={"url": "private"}), "input.output.url"),
        (event(output={"expires_in": 59}), "input.output.expires_in"),
        (event(output={"expires_in": 604_801}), "input.output.expires_in"),
        (event(output={"embed_workflow": 1}), "input.output.embed_workflow"),
        (event(output={"embed_workflow": "yes"}), "input.output.embed_workflow"),
        (event(output={"prefix": "x" * 201}), "input.output.prefix"),
        (event(output={"webhook": "https://x"}), "input.output.webhook"),
        (event(output={"webhook": {}}), "input.output.webhook.url"),
        (event(output={"webhook": {"url": ""}}), "input.output.webhook.url"),
        (
            event(output={"webhook": {"url": "https://x", "events": []}}),
            "input.output.webhook.events",
        ),
        (
            event(output={"webhook": {"url": "https://x", "events": ["started"]}}),
            "input.output.webhook.events.0",
        ),
    ],
)
def test_wrong_value_is_one_problem_of_its_field(data, field):
    assert set(problems(data)) == {field}


@pytest.mark.parametrize(
    "prefix", ["a", "a/b", "customer-7/avatars", "A_1/b.c", "v1.0", "_/-", "x" * 200]
)
def test_prefix_of_folder_names_is_taken(prefix):
    assert parse_event(event(output={"prefix": prefix})).input.output.prefix == prefix


@pytest.mark.parametrize(
    "prefix",
    [
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "../a",
        "a/../b",
        "a/.b",
        ".a",
        "a b",
        "ä",
        "a\n",
        "a\\b",
        "%2e",
    ],
)
def test_prefix_that_could_lead_elsewhere_is_refused(prefix):
    assert set(problems(event(output={"prefix": prefix}))) == {"input.output.prefix"}


def test_all_problems_are_listed_at_once_each_with_its_field():
    data = event(image=5, params={"a": None, "b": []}, output={"quality": 0, "x": 1}, more=1)
    assert set(problems(data)) == {
        "input.image",
        "input.params.a",
        "input.params.b",
        "input.output.quality",
        "input.output.x",
        "input.more",
    }
    message = refused(data).message
    assert "input.output.quality: Input should be greater than or equal to 1" in message
    assert "python -m handler schema" in message


@pytest.mark.parametrize(
    "data",
    [
        SECRET,
        {"input": SECRET},
        event(image=[SECRET]),
        event(image={"data": SECRET}),
        event(image=SECRET, images={"image": SECRET}),
        event(images=SECRET),
        event(images={"a": [SECRET]}),
        event(photo=SECRET),
        event(params={"a": [SECRET]}),
        event(params=SECRET),
        event(output={"format": SECRET}),
        event(output={"prefix": SECRET + "/"}),
        event(output={"image": SECRET}),
        {"id": SECRET * 20} | event(),
        {"image": SECRET},
    ],
)
def test_values_are_never_repeated_not_even_in_a_traceback(data):
    error = refused(data)
    assert SECRET not in error.message
    assert SECRET not in json.dumps(error.details)
    assert SECRET not in "".join(traceback.format_exception(error))


def test_name_that_is_no_text_in_unicode_is_refused_and_can_be_written_out():
    for data in (
        event(params={"\ud800": 1}),
        event(images={"\ud800": IMAGE}),
        event(params={"a": "\ud800"}),
        event(image="\ud800"),
        event(**{"\ud800": 1}),
        {"id": "\ud800"} | event(),
    ):
        error = refused(data)
        error.message.encode()
        json.dumps(error.details, ensure_ascii=False).encode()


@pytest.mark.parametrize("kind", ["params", "images"])
def test_names_of_parameters_and_images_are_short(kind):
    assert len(refused(event(**{kind: {"x" * 100_000: "y"}})).message) < 1000
    assert len(refused(event(**{kind: {"": "y"}})).message) < 1000


any_text = st.text(st.characters(), max_size=8)
numbers = st.integers() | st.floats() | st.just(10**400)
any_json = st.recursive(
    st.none() | st.booleans() | numbers | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=8,
)
events = st.fixed_dictionaries(
    {},
    optional={
        "id": any_json,
        "input": any_json
        | st.fixed_dictionaries(
            {"workflow": st.just("w") | any_json},
            optional={
                "image": any_json,
                "images": st.dictionaries(any_text, any_json, max_size=3) | any_json,
                "params": st.dictionaries(any_text, any_json, max_size=3) | any_json,
                "output": st.dictionaries(st.sampled_from(sorted(OUTPUT)), any_json) | any_json,
            },
        ),
    },
)


@given(any_json | events)
@example(event(image=IMAGE, params={"a": math.nan}))
def test_arbitrary_json_is_an_event_or_an_event_error(data):
    try:
        parsed = parse_event(data)
    except EventError as error:
        json.dumps({"message": error.message, **error.details}, ensure_ascii=False).encode()
        assert error.details["problems"]  # noqa: PT017 - either outcome is right
        return
    assert parsed.input.workflow
    assert all(parsed.input.named_images.values())
    for value in parsed.input.params.values():
        assert isinstance(value, bool | int | float | str)
