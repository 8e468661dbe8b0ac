from __future__ import annotations

import argparse
import base64
import io
import json
import sys

import pytest

from handler.commands import run as run_command
from handler.commands.run import event_of
from handler.contract.errors import EventError
from handler.contract.event import parse_event

EVENT = {"id": "job-1", "input": {"workflow": "look", "image": "https://x.test/größer.png"}}
PHOTO = b"\x89PNG\r\n\x1a\n not really"
PHOTO_URI = "data:application/octet-stream;base64," + base64.b64encode(PHOTO).decode()


def arguments(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    run_command.add_parser(parser.add_subparsers())
    return parser.parse_args(["run", *argv])


def event(*argv: str) -> object:
    return event_of(arguments(*argv))


def refused(*argv: str) -> str:
    with pytest.raises(EventError) as caught:
        event(*argv)
    return caught.value.message


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(PHOTO)
    return str(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_event_is_read_from_a_file(tmp_path, encoding):
    path = tmp_path / "event.json"
    path.write_text(json.dumps(EVENT, ensure_ascii=False), encoding=encoding)
    assert event(str(path)) == EVENT


def test_event_is_read_from_standard_input(monkeypatch):
    data = io.BytesIO(json.dumps(EVENT, ensure_ascii=False).encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(data, encoding="ascii"))
    assert event("-") == EVENT


@pytest.mark.parametrize(
    "data", [b"", b"{", b"{'input': {}}", b"\xff\xfe\xff", b"[" * 100_000, b"1" * 5000, b"nope"]
)
def test_file_that_is_not_json_is_refused(tmp_path, data):
    path = tmp_path / "event.json"
    path.write_bytes(data)
    assert refused(str(path)).startswith(f"{path} is not JSON: ")


def test_standard_input_that_is_not_json_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff{")))
    assert "standard input is not JSON" in refused("-")


def test_file_that_is_not_there_is_refused(tmp_path):
    assert "No such file" in refused(str(tmp_path / "event.json"))
    assert "Is a directory" in refused(str(tmp_path))


def test_broken_event_file_ends_with_status_1_before_anything_is_started(run, tmp_path):
    (tmp_path / "event.json").write_text("{")
    status, out, err = run("run", "event.json")
    assert (status, out) == (1, "")
    error = json.loads(err)["error"]
    assert error["code"] == "invalid_event"
    assert "event.json is not JSON" in error["message"]


@pytest.mark.parametrize(
    "options",
    [
        ("--workflow", "look"),
        ("--image", "x"),
        ("--param", "steps=1"),
        ("--format", "png"),
        ("--id", "job-1"),
    ],
)
def test_options_beside_an_event_file_are_refused_instead_of_left_out(tmp_path, options):
    path = tmp_path / "event.json"
    path.write_text(json.dumps(EVENT))
    assert options[0] in refused(str(path), *options)


def test_options_make_an_event(photo):
    made = event(
        *("--workflow", "look", "--image", photo, "--format", "webp", "--id", "job-1"),
        *("--param", "steps=9", "--param", "prompt=a cat"),
    )
    assert made == {
        "id": "job-1",
        "input": {
            "workflow": "look",
            "images": {"image": PHOTO_URI},
            "params": {"steps": 9, "prompt": "a cat"},
            "output": {"format": "webp"},
        },
    }
    parse_event(made)


def test_options_that_are_not_given_are_left_to_the_events_defaults():
    assert event("--workflow", "look") == {
        "input": {"workflow": "look", "images": {}, "params": {}}
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-0.5", -0.5),
        ("true", True),
        ("True", "True"),
        ('"5"', "5"),
        ("a cat, on a mat", "a cat, on a mat"),
        ("a=b", "a=b"),
        ("", ""),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_value_of_a_parameter_is_json_where_it_is_json_else_text(text, value):
    assert event("--param", f"it={text}")["input"]["params"] == {"it": value}


def test_parameter_without_a_value_is_refused():
    assert "NAME=VALUE, not 'steps'" in refused("--param", "steps")


@pytest.mark.parametrize(
    "source",
    [
        "https://x.test/photo.png?size=5&more=1",
        "s3://bucket/a=b.png",
        "data:image/png;base64,iVBORw0KGgo=",
        "iVBORw0KGgo=",
        "iVBORw0KGg==",
        "iVBORw0KGgoA" * 1000,
        "no-such-file.png",
    ],
)
def test_image_that_is_no_file_is_sent_as_it_is(source):
    assert event("--image", source)["input"]["images"] == {"image": source}
    assert event("--image", f"mask={source}")["input"]["images"] == {"mask": source}


def test_images_may_have_names(photo):
    made = event("--image", f"first-look={photo}", "--image", "mask=https://x.test/m.png")
    assert made["input"]["images"] == {"first-look": PHOTO_URI, "mask": "https://x.test/m.png"}


def test_file_with_an_equals_sign_in_its_name_is_a_file(tmp_path):
    (tmp_path / "a=b.png").write_bytes(PHOTO)
    assert event("--image", "a=b.png")["input"]["images"] == {"image": PHOTO_URI}


def test_two_images_of_one_name_are_refused(photo):
    assert 'two images are named "image"' in refused("--image", photo, "--image", "x.png")


def test_image_file_that_cannot_be_read_is_refused(photo, monkeypatch):
    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    assert "photo.png cannot be read: Permission denied" in refused("--image", photo)


def test_format_that_does_not_exist_is_wrong_usage(run):
    status, _, err = run("run", "--format", "gif")
    assert status == 2
    assert "invalid choice: 'gif'" in err
