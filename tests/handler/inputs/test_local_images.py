from __future__ import annotations

import base64

import pytest

from handler.contract.errors import EventError
from handler.inputs.local_images import inline_file, inline_local_image, is_local_file


def test_file_becomes_a_data_uri(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"bytes")
    uri = "data:application/octet-stream;base64," + base64.b64encode(b"bytes").decode()
    assert inline_local_image("photo.png", tmp_path) == uri
    assert inline_local_image(str(tmp_path / "photo.png")) == uri


@pytest.mark.parametrize(
    "source", ["https://x.test/a.png", "s3://b/k", "iVBORw0KGgo=" * 1000, "", "a\0b", "no-such.png"]
)
def test_what_is_no_file_stays_as_it_is(source, tmp_path):
    assert not is_local_file(source, tmp_path)
    assert inline_local_image(source, tmp_path) == source


def test_folder_is_no_image(tmp_path):
    assert inline_local_image(".", tmp_path) == "."


def test_file_that_is_gone_is_told(tmp_path):
    with pytest.raises(EventError, match=r"photo\.png cannot be read"):
        inline_file(tmp_path / "photo.png")
