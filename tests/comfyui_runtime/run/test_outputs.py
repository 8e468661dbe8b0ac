from __future__ import annotations

import pytest

from comfyui_runtime.run.outputs import (
    FileOutput,
    TextOutput,
    clear_scratch,
    collect_outputs,
    read_scratch_file,
)


@pytest.fixture
def scratch(tmp_path):
    for name in ("input", "output", "temp"):
        (tmp_path / name).mkdir()
    return tmp_path


def collected(scratch, history, **options):
    return collect_outputs(history, lambda entry: read_scratch_file(scratch, entry, **options))


def entry(name):
    return {"filename": name, "subfolder": "", "type": "output"}


@pytest.mark.parametrize(
    ("report", "texts"),
    [
        ({"text": ("a caption",)}, ["a caption"]),
        ({"text": ["one", "two"]}, ["one", "two"]),
        ({"text": "bare"}, ["bare"]),
        ({"string": ["words"]}, ["words"]),
        ({"tags": ["1girl, solo"]}, ["1girl, solo"]),
        ({"value": [4, 2.5, True, None]}, ["4", "2.5", "true", "null"]),
        ({"text": [{"a": [1]}]}, ['{"a": [1]}']),
        ({"text": [""]}, [""]),
        ({"text": ["half \ud83d"]}, ["half ?"]),
        ({"animated": (True,), "aspect_ratio": [1.5]}, []),
        ({"names": ["what the editor alone needs"]}, []),
    ],
)
def test_what_a_node_shows_as_text_is_an_output(scratch, report, texts):
    assert collected(scratch, {"5": report}) == tuple(TextOutput("5", text) for text in texts)


def test_files_come_before_texts(scratch):
    (scratch / "output" / "a.mp4").write_bytes(b"video")
    history = {"1": {"text": ["first"]}, "2": {"images": [entry("a.mp4")], "animated": (True,)}}
    assert collected(scratch, history) == (
        FileOutput("2", "a.mp4", b"video"),
        TextOutput("1", "first"),
    )


def test_a_model_that_a_node_shows_by_its_path_is_an_output_once(scratch):
    (scratch / "output" / "3d").mkdir()
    (scratch / "output" / "3d" / "cube.glb").write_bytes(b"glTF")
    for path in ("3d/cube.glb", "3d\\cube.glb", "3d/cube.glb [output]"):
        report = {"1": {"result": [path, {"position": 1}, None]}}
        assert collected(scratch, report) == (FileOutput("1", "cube.glb", b"glTF"),)
    for path in ("../secret", "/etc/passwd", "3d/none.glb", ""):
        assert collected(scratch, {"1": {"result": [path, None]}}) == ()


def test_a_large_file_outlives_the_clearing_until_it_is_discarded(scratch):
    (scratch / "output" / "a.mp4").write_bytes(b"video")
    (large,) = collected(scratch, {"1": {"video": [entry("a.mp4")]}}, max_in_memory=4)
    clear_scratch(scratch)
    assert large.name == "a.mp4"
    assert large.data.read_bytes() == b"video"
    large.discard()
    assert not large.data.exists()
    large.discard()


def test_a_file_that_two_nodes_report_is_one_output(scratch):
    (scratch / "output" / "a.mp4").write_bytes(b"video")
    history = {"1": {"video": [entry("a.mp4")]}, "2": {"gifs": [entry("a.mp4")]}}
    assert len(collected(scratch, history, max_in_memory=4)) == 1
