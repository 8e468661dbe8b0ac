from __future__ import annotations

import json
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from comfyui_runtime.errors import MissingModelError, ModelError
from comfyui_runtime.run.model_files import ModelFolders, check_model_file, check_safetensors
from comfyui_runtime.workflow.manifest import Model

MODEL = Model(folder="loras", file="style/ghibli.safetensors")


def tensor(start, end, shape=(2,)):
    return {"dtype": "F16", "shape": list(shape), "data_offsets": [start, end]}


def safetensors(header, data=b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


WHOLE = safetensors(
    {"__metadata__": {"format": "pt"}, "a": tensor(0, 4), "b": tensor(4, 16, [2, 3])}, bytes(16)
)


@pytest.fixture
def folders(tmp_path):
    return ModelFolders(tmp_path / "models", (tmp_path / "volume", tmp_path / "more"))


@pytest.fixture
def put(tmp_path):
    """Put a model's file below one of the folders."""

    def write(data=WHOLE, where="models", model=MODEL):
        path = tmp_path / where / model.folder / model.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    return write


@pytest.fixture
def unusable(put, folders):
    """Put a file and return the error that its check gives."""

    def check(data, model=MODEL) -> ModelError:
        path = put(data, model=model)
        with pytest.raises(ModelError) as caught:
            check_model_file(folders, model)
        assert str(path) in caught.value.message
        assert "fetch it again" in caught.value.message
        assert caught.value.details == {"file": path.name}
        return caught.value

    return check


@pytest.mark.parametrize("where", ["models", "volume", "more"])
def test_model_is_found_in_any_of_the_folders(folders, put, where):
    path = put(where=where)
    assert folders.find(MODEL) == path
    check_model_file(folders, MODEL)


def test_first_folder_that_has_the_model_wins(folders, put):
    put(where="more")
    path = put(where="volume")
    assert folders.find(MODEL) == path


def test_missing_model_names_file_and_folders(folders, tmp_path):
    (tmp_path / "models" / "loras" / "style" / "ghibli.safetensors").mkdir(parents=True)
    with pytest.raises(MissingModelError) as caught:
        check_model_file(folders, MODEL)
    message = caught.value.message
    assert "loras/style/ghibli.safetensors" in message
    for folder in ("models", "volume", "more"):
        assert str(tmp_path / folder / "loras") in message
    assert caught.value.details == {"file": "style/ghibli.safetensors"}


def test_whole_file_gives_its_tensors_shapes(put):
    assert check_safetensors(put()) == {"a": (2,), "b": (2, 3)}


def test_file_without_tensors_is_whole(put):
    assert check_safetensors(put(safetensors({}))) == {}


def test_shape_of_a_single_number_is_empty(put):
    assert check_safetensors(put(safetensors({"a": tensor(0, 2, [])}, bytes(2)))) == {"a": ()}


@pytest.mark.parametrize("cut", [1, 15, 16, 20, len(WHOLE) - 9])
def test_truncated_file_is_refused(unusable, cut):
    unusable(WHOLE[:-cut])


def test_file_that_lost_its_end_tells_its_size(unusable):
    message = unusable(WHOLE[:-5]).message
    assert f"it has {len(WHOLE) - 5} bytes where its header says otherwise" in message


def test_file_with_something_behind_it_is_refused(unusable):
    assert "where its header says otherwise" in unusable(WHOLE + b"x").message


def test_empty_file_is_refused(unusable):
    assert "not a safetensors file" in unusable(b"").message


def test_error_page_under_a_models_name_is_shown_for_what_it_is(unusable):
    assert "starts with b'<!DOCTYP'" in unusable(b"<!DOCTYPE html><title>404</title>" * 9).message


def test_pickled_checkpoint_under_the_name_is_refused(unusable):
    assert "not a safetensors file" in unusable(b"PK\x03\x04\xff\xff\xff\xff" + bytes(90)).message


def test_header_longer_than_the_format_allows_is_not_read(unusable):
    assert "not a safetensors file" in unusable(struct.pack("<Q", 2**63) + b"{}").message


@pytest.mark.parametrize(
    "header",
    [
        b"x",
        b"\xff\xfe{}",
        b"[]",
        b"5",
        b"null",
        b"[" * 100_000,
        b'{"a": ' * 100_000,
        {"a": None},
        {"a": []},
        {"a": {}},
        {"a": {"dtype": "F16", "shape": [2]}},
        {"a": {"dtype": "F16", "data_offsets": [0, 4]}},
        {"a": tensor(0, 4) | {"shape": None}},
        {"a": tensor(0, 4) | {"shape": "abc"}},
        {"a": tensor(0, 4) | {"shape": ["x"]}},
        {"a": tensor(0, 4) | {"shape": [-2]}},
        {"a": tensor(0, 4) | {"shape": [0.5]}},
        {"a": tensor(0, 4) | {"data_offsets": 4}},
        {"a": tensor(0, 4) | {"data_offsets": []}},
        {"a": tensor(0, 4) | {"data_offsets": [0]}},
        {"a": tensor("a", "b")},
        {"a": tensor(0, 4.5)},
        {"a": tensor(0, float("nan"))},
        {"a": tensor(0, -1)},
        {"a": tensor(4, 0)},
        {"a": tensor(0, 10**400)},
        b'{"a": {"dtype": "F16", "shape": [], "data_offsets": [0, ' + b"9" * 4300 + b"]}}",
        b'{"a": {"dtype": "F16", "shape": [], "data_offsets": [0, ' + b"9" * 9999 + b"]}}",
    ],
    ids=lambda header: repr(header)[:60],
)
def test_header_that_lies_is_refused(unusable, header):
    assert "its header cannot be read" in unusable(safetensors(header, bytes(4))).message


def test_file_that_cannot_be_opened_is_refused(put, folders, monkeypatch):
    path = put()

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", refuse)
    with pytest.raises(ModelError, match="Permission denied"):
        check_model_file(folders, MODEL)


ONNX = Model(folder="wd14_tagger", file="model.onnx")


def test_file_of_another_kind_has_only_to_hold_something(put, folders, unusable):
    assert "it is empty" in unusable(b"", ONNX).message
    put(b"x", model=ONNX)
    check_model_file(folders, ONNX)


numbers = st.integers(-2, 20) | st.integers() | st.floats() | st.none() | st.text(max_size=2)
entries = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F16", "F32"]) | numbers,
        "shape": st.lists(numbers, max_size=3) | numbers,
        "data_offsets": st.lists(numbers, max_size=3) | numbers,
    },
)
headers = st.dictionaries(st.text(max_size=3) | st.just("__metadata__"), entries | numbers)


@given(
    st.binary(max_size=40)
    | st.builds(safetensors, st.binary(max_size=40), st.binary(max_size=8))
    | st.builds(safetensors, headers, st.binary(max_size=20))
)
@example(WHOLE)
def test_whatever_is_in_the_file_it_is_whole_or_a_model_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    path.write_bytes(data)
    try:
        shapes = check_safetensors(path)
    except ModelError:
        assert data != WHOLE
        return
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    assert shapes.keys() == header.keys() - {"__metadata__"}
    assert all(isinstance(size, int) for shape in shapes.values() for size in shape)
