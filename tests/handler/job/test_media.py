"""Texts, videos, sounds and masks through the real ComfyUI."""

from __future__ import annotations

import base64
import io
import json
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from media_support import sound, video
from PIL import Image

from comfyui_runtime.run import outputs as run_outputs
from handler.contract.errors import StorageUnavailableError
from handler.contract.response import MAX_TEXT_BYTES, Failure, Success

HEAD = 'title = "Media"\ndescription = "Media in and out."\nversion = "1"\n'
PHOTO = {"class_type": "LoadImage", "inputs": {"image": "photo.png"}}
PHOTO_INPUT = '[images.image]\nnode = "1"\ndescription = "A photo."\n'
GRAPHS = {
    "caption": (
        PHOTO_INPUT,
        {
            "1": PHOTO,
            "2": {"class_type": "GetImageSize", "inputs": {"image": ["1", 0]}},
            "3": {"class_type": "PreviewAny", "inputs": {"source": ["2", 0]}},
        },
    ),
    "words": (
        (
            '[parameters.words]\ntype = "string"\ndefault = ""\nmax_length = 500000\n'
            'description = "What to say."\npatches = ["1.value"]\n'
        ),
        {
            "1": {"class_type": "PrimitiveString", "inputs": {"value": ""}},
            "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
        },
    ),
    "clip": (
        PHOTO_INPUT,
        {
            "1": PHOTO,
            "2": {"class_type": "RepeatImageBatch", "inputs": {"image": ["1", 0], "amount": 8}},
            "3": {"class_type": "CreateVideo", "inputs": {"images": ["2", 0], "fps": 8}},
            "4": {
                "class_type": "SaveVideo",
                "inputs": {
                    "video": ["3", 0],
                    "filename_prefix": "video/clip",
                    "format": "mp4",
                    "codec": "h264",
                },
            },
        },
    ),
    "frames": (
        '[files.video]\nnode = "1"\nmedia = "video"\ndescription = "A video."\n',
        {
            "1": {"class_type": "LoadVideo", "inputs": {"file": "clip.mp4"}},
            "2": {"class_type": "GetVideoComponents", "inputs": {"video": ["1", 0]}},
            "3": {"class_type": "ImageInvert", "inputs": {"image": ["2", 0]}},
            "4": {
                "class_type": "SaveImage",
                "inputs": {"images": ["3", 0], "filename_prefix": "x"},
            },
            "5": {"class_type": "PreviewAny", "inputs": {"source": ["2", 2]}},
        },
    ),
    "tone": (
        '[files.sound]\nnode = "1"\nmedia = "audio"\ndescription = "A sound."\n',
        {
            "1": {"class_type": "LoadAudio", "inputs": {"audio": "tone.wav"}},
            "2": {
                "class_type": "SaveAudio",
                "inputs": {"audio": ["1", 0], "filename_prefix": "tone"},
            },
        },
    ),
    "mask": (
        '[images.image]\nnode = "1"\ndescription = "A mask."\n',
        {
            "1": {
                "class_type": "LoadImageMask",
                "inputs": {"image": "mask.png", "channel": "red"},
            },
            "2": {"class_type": "MaskToImage", "inputs": {"mask": ["1", 0]}},
            "3": {
                "class_type": "SaveImage",
                "inputs": {"images": ["2", 0], "filename_prefix": "x"},
            },
        },
    ),
}


def as_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def png(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return as_base64(file.getvalue())


PICTURE = png(np.full((48, 64, 3), 90, np.uint8))


@pytest.fixture
def media_settings(local_settings, tmp_path):
    folder = tmp_path / "media"
    for name, (inputs, graph) in GRAPHS.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "manifest.toml").write_text(HEAD + inputs)
        (folder / name / "graph.json").write_text(json.dumps(graph))
    return local_settings.model_copy(update={"workflows_dir": folder})


@pytest.fixture
def answer(make_function, media_settings):
    def run(workflow, *, function=None, **job_input):
        function = function or make_function(media_settings)
        return function.answer({"input": {"workflow": workflow, **job_input}})

    return run


def outputs_of(response):
    assert isinstance(response, Success), response
    return response.outputs


def failed(response, code):
    assert isinstance(response, Failure), response
    assert response.error.code == code
    return response.error


def content(output) -> bytes:
    with urllib.request.urlopen(output.url, timeout=10) as response:
        return response.read()


def input_files(runtime) -> list[Path]:
    return [path for path in (runtime._scratch / "input").rglob("*") if path.is_file()]


def _but_no_result(path: Path) -> Path:
    assert path.parent.name != "made"
    return path


# Out


def test_a_workflow_that_only_gives_a_text_succeeds(answer):
    (text,) = outputs_of(answer("caption", image=PICTURE))
    assert (text.kind, text.text, text.node_id) == ("text", "64", "3")
    assert (text.url, text.base64, text.key) == (None, None, None)
    assert (text.content_type, text.bytes) == ("text/plain; charset=utf-8", 2)


def test_a_text_is_in_the_response_whatever_the_delivery(answer):
    output = {"delivery": "base64"}
    (text,) = outputs_of(answer("words", params={"words": "Grüße"}, output=output))
    assert (text.text, text.base64) == ("Grüße", None)


def test_a_long_text_is_a_file(answer):
    words = "é" * MAX_TEXT_BYTES
    (text,) = outputs_of(answer("words", params={"words": words}))
    assert (text.kind, text.text) == ("text", None)
    assert content(text).decode() == words


def test_a_text_is_answered_again_where_reuse_is_allowed(make_function, media_settings, answer):
    function = make_function(media_settings)
    asked = {"params": {"words": "once"}, "output": {"reuse": True}, "function": function}
    outputs_of(answer("words", **asked))
    again = answer("words", **asked)
    assert again.reused
    assert again.outputs[0].text == "once"


def test_a_video_says_its_size_its_duration_and_its_frame_rate(answer):
    (clip,) = outputs_of(answer("clip", image=PICTURE))
    assert (clip.kind, clip.content_type) == ("video", "video/mp4")
    assert (clip.width, clip.height) == (64, 48)
    assert clip.duration == pytest.approx(1.0, abs=0.13)
    assert clip.frame_rate == pytest.approx(8)


def test_a_sound_says_its_duration_and_its_sample_rate(answer):
    (tone,) = outputs_of(answer("tone", files={"sound": as_base64(sound())}))
    assert (tone.kind, tone.content_type) == ("audio", "audio/flac")
    assert tone.duration == pytest.approx(0.5, abs=0.05)
    assert tone.sample_rate == 16_000
    assert (tone.width, tone.frame_rate) == (None, None)


def test_a_large_file_goes_from_disk_to_storage_and_leaves_nothing(
    answer, make_function, media_settings, bucket_settings, runtime, monkeypatch
):
    """It never is in memory whole, wherever it is stored."""
    monkeypatch.setattr(
        run_outputs.read_scratch_file, "__defaults__", (100,)
    )  # every file is a large one
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(_but_no_result(path)))
    in_bucket = bucket_settings.model_copy(update={"workflows_dir": media_settings.workflows_dir})
    for settings in (media_settings, in_bucket):
        (clip,) = outputs_of(answer("clip", image=PICTURE, function=make_function(settings)))
        assert (clip.width, clip.frame_rate) == (64, 8)
        assert b"ftyp" in content(clip)[:16]
        assert clip.bytes == len(content(clip))
        assert list((runtime._scratch / "made").iterdir()) == []


def test_a_large_file_that_could_not_be_stored_is_kept_and_stored_later(
    answer, make_function, media_settings, monkeypatch
):
    monkeypatch.setattr(run_outputs.read_scratch_file, "__defaults__", (100,))
    function = make_function(media_settings)
    storage = function._delivery._storage
    put = storage.put

    def fail(*_, **__):
        raise StorageUnavailableError("The storage is away.")

    monkeypatch.setattr(storage, "put", fail)
    event = {"id": "kept-1", "input": {"workflow": "clip", "image": PICTURE}}
    failed(function.answer(event), "storage_unavailable")
    monkeypatch.setattr(storage, "put", put)
    (clip,) = outputs_of(function.answer(event))
    assert (clip.kind, clip.width, clip.frame_rate) == ("video", 64, 8)
    assert b"ftyp" in content(clip)[:16]


# In


def test_a_video_is_loaded_and_gone_after_the_job(answer, runtime):
    outputs = outputs_of(answer("frames", files={"video": as_base64(video(grey=30))}))
    pictures = [output for output in outputs if output.kind == "image"]
    assert len(pictures) == 8
    assert (pictures[0].width, pictures[0].height) == (64, 48)
    pixels = np.asarray(Image.open(io.BytesIO(content(pictures[0]))))
    assert abs(int(pixels.mean()) - 225) < 8
    assert [output.text for output in outputs if output.kind == "text"] == ["8.0"]
    assert input_files(runtime) == []


def test_a_video_sent_again_is_known_again_and_another_is_not(answer, runtime):
    first, second = (as_base64(video(grey=grey)) for grey in (40, 200))
    shades = []
    for clip in (first, first, second):
        outputs = outputs_of(answer("frames", files={"video": clip}))
        shades.append(int(np.asarray(Image.open(io.BytesIO(content(outputs[0])))).mean()))
    assert shades[0] == shades[1]
    assert abs(shades[2] - shades[0]) > 100


def test_a_video_at_an_address_is_fetched(answer, photo_url, tmp_path):
    (tmp_path / "web" / "clip").write_bytes(video())
    url = photo_url.replace("photo.png", "clip")
    assert len(outputs_of(answer("frames", files={"video": url}))) == 9


def test_a_file_is_removed_where_the_job_fails(answer, runtime, make_function, media_settings):
    function = make_function(media_settings)
    failed(answer("tone", files={"sound": as_base64(video())}, function=function), "not_media")
    folder = function._fetcher._folder._folder
    assert [path.name for path in folder.iterdir()] == [".lock"]
    assert input_files(runtime) == []


def test_a_mask_is_the_channel_that_its_node_names(answer):
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:, :20] = (200, 9, 9)
    (mask,) = outputs_of(answer("mask", image=png(pixels)))
    shown = np.asarray(Image.open(io.BytesIO(content(mask))))
    assert shown.shape[:2] == (48, 64)
    assert (shown[:, :20, 0].min(), shown[:, 20:, 0].max()) == (200, 0)


def test_a_file_that_is_not_taken_or_missing_is_named(answer):
    assert '"video"' in failed(answer("frames"), "invalid_parameter").message
    error = failed(answer("frames", files={"clip": "data:,x"}), "invalid_parameter")
    assert error.details["allowed"] == ["video"]
