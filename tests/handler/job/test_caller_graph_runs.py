"""Graphs in events, run by the real ComfyUI."""

from __future__ import annotations

import base64
import json
import logging
import re
import urllib.request
from io import BytesIO

import numpy as np
import pytest
from media_support import sound
from PIL import Image

from handler.contract.answer import answer_of
from handler.contract.response import Failure, Success
from handler.log import JsonFormatter, TextFormatter
from handler.settings import load_settings

KEY = "comfyui-87d01e28d"


def node(class_type: str, **inputs: object) -> dict[str, object]:
    return {"class_type": class_type, "inputs": inputs}


def inverting(*more: tuple[str, dict[str, object]]) -> dict[str, object]:
    return {
        "1": node("LoadImage", image="dot.png"),
        "2": node("ImageInvert", image=["1", 0]),
        "3": node("SaveImage", images=["2", 0], filename_prefix="result"),
        **dict(more),
    }


EDITOR_FILE = {
    "version": 0.4,
    "nodes": [
        {
            "id": 1,
            "type": "LoadImage",
            "inputs": [],
            "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1]}],
            "widgets_values": ["dot.png", "image"],
        },
        {
            "id": 2,
            "type": "ImageInvert",
            "inputs": [{"name": "image", "type": "IMAGE", "link": 1}],
            "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [2]}],
        },
        {
            "id": 3,
            "type": "SaveImage",
            "inputs": [{"name": "images", "type": "IMAGE", "link": 2}],
            "outputs": [],
            "widgets_values": ["result"],
        },
    ],
    "links": [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]],
}


@pytest.fixture
def dot(photo) -> str:
    file = BytesIO()
    Image.fromarray(photo.pixels).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


@pytest.fixture
def taking(make_function, local_settings):
    """A function that takes graphs."""
    return make_function(local_settings.with_trusted_callers())


def own(graph, dot, **more):
    return {"input": {"workflow": graph, "images": {"dot.png": dot}, **more}}


def theirs(graph, dot, **more):
    return {"input": {"workflow": graph, "images": [{"name": "dot.png", "image": dot}], **more}}


def succeeded(response) -> Success:
    assert isinstance(response, Success), response
    return response


def failed(response, code: str) -> Failure:
    assert isinstance(response, Failure), response
    assert response.error.code == code, response
    return response


def picture_of(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data))


def is_inverted(data: bytes, photo) -> bool:
    difference = np.asarray(picture_of(data)).astype(int) - (255 - photo.pixels)
    return bool(np.abs(difference).max() <= 1)


def fetched(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as response:
        return response.read()


class TestOwnShape:
    def test_graph_in_the_event_runs_like_a_workflow(self, taking, dot, photo):
        response = succeeded(taking.answer(own(inverting(), dot)))
        (output,) = response.outputs
        assert is_inverted(fetched(output.url), photo)
        assert (output.node_id, output.filename) == ("3", "result_00001_.png")
        assert (response.workflow, response.seed) == ("(graph)", None)
        assert answer_of(response)["status"] == "succeeded"

    def test_format_and_delivery_are_the_events(self, taking, dot):
        wanted = {"format": "webp", "delivery": "base64"}
        (output,) = succeeded(taking.answer(own(inverting(), dot, output=wanted))).outputs
        assert picture_of(base64.b64decode(output.base64)).format == "WEBP"
        assert output.filename == "result_00001_.webp"

    def test_file_of_the_editors_is_converted(self, taking, dot, photo):
        (output,) = succeeded(taking.answer(own(EDITOR_FILE, dot))).outputs
        assert is_inverted(fetched(output.url), photo)

    def test_graphs_that_are_equal_reuse_a_result(self, taking, dot):
        wanted = {"reuse": True}
        first = succeeded(taking.answer(own(inverting(), dot, output=wanted)))
        second = succeeded(taking.answer(own(inverting(), dot, output=wanted)))
        assert (first.reused, second.reused) == (False, True)
        other = inverting(("4", node("SaveImage", images=["1", 0])))
        assert not succeeded(taking.answer(own(other, dot, output=wanted))).reused

    def test_preview_is_an_output_as_of_a_workflow(self, taking, dot):
        graph = inverting(("4", node("PreviewImage", images=["1", 0])))
        assert len(succeeded(taking.answer(own(graph, dot))).outputs) == 2

    def test_image_that_is_missing_or_one_too_many_is_named(self, taking, dot):
        missing = failed(
            taking.answer({"input": {"workflow": inverting(), "output": {}}}), "invalid_parameter"
        )
        assert '"dot.png"' in missing.error.message
        both = {"dot.png": dot, "other.png": dot}
        more = failed(taking.answer(own(inverting(), dot, images=both)), "invalid_parameter")
        assert '"other.png"' in more.error.message

    def test_parameters_are_refused_for_the_graph_has_its_values(self, taking, dot):
        failed(taking.answer(own(inverting(), dot, params={"seed": 1})), "invalid_parameter")

    def test_mask_of_a_picture_comes_through_either_loader(self, taking, photo):
        file = BytesIO()
        alpha = np.full((48, 64), 255, np.uint8)
        alpha[:, :32] = 0
        Image.fromarray(np.dstack([photo.pixels, alpha])).save(file, "PNG")
        data = base64.b64encode(file.getvalue()).decode()

        def mask(graph) -> np.ndarray:
            wanted = {"delivery": "base64"}
            response = taking.answer(own(graph, data, output=wanted))
            (output,) = succeeded(response).outputs
            return np.asarray(picture_of(base64.b64decode(output.base64)))[..., 0]

        shown = {
            "3": node("MaskToImage", mask=["2", 0]),
            "4": node("SaveImage", images=["3", 0]),
        }
        by_alpha = mask({"2": node("LoadImageMask", image="dot.png", channel="alpha"), **shown})
        assert (by_alpha[:, :32] == 255).all()
        assert (by_alpha[:, 32:] == 0).all()
        by_red = mask({"2": node("LoadImageMask", image="dot.png", channel="red"), **shown})
        assert np.abs(by_red.astype(int) - photo.pixels[..., 0]).max() <= 1


class TestRefusals:
    def test_worker_that_takes_no_graphs_says_so(self, function, dot):
        error = failed(function.answer(own(inverting(), dot)), "graph_refused").error
        assert "CALLER_GRAPHS=on" in error.message

    def test_model_that_is_not_there_is_named(self, taking, dot):
        graph = inverting(("4", node("UpscaleModelLoader", model_name="4x-nowhere.safetensors")))
        error = failed(taking.answer(own(graph, dot)), "missing_model").error
        assert "4x-nowhere.safetensors" in error.message
        assert error.details["node_id"] == "4"
        assert error.details["file"] == "4x-nowhere.safetensors"

    def test_class_that_is_not_there_is_named(self, taking, dot):
        graph = inverting(("4", node("NoSuchNode", image=["1", 0])))
        error = failed(taking.answer(own(graph, dot)), "missing_node_class").error
        assert error.details["class_type"] == "NoSuchNode"

    def test_class_that_is_not_there_in_a_file_of_the_editors_is_named(self, taking, dot):
        nodes = [*EDITOR_FILE["nodes"][:2], {**EDITOR_FILE["nodes"][2], "type": "NoSuchNode"}]
        response = taking.answer(own({**EDITOR_FILE, "nodes": nodes}, dot))
        assert isinstance(response, Failure)
        assert "NoSuchNode" in response.error.message

    @pytest.mark.parametrize("prefix", ["../outside", "/tmp/outside", "a/../../b"])
    def test_prefix_that_leads_out_is_refused(self, taking, dot, prefix):
        graph = inverting(("3", node("SaveImage", images=["2", 0], filename_prefix=prefix)))
        failed(taking.answer(own(graph, dot)), "graph_refused")

    def test_graph_without_an_output_is_refused(self, taking, dot):
        failed(taking.answer(own({"1": node("LoadImage", image="dot.png")}, dot)), "invalid_graph")
        graph = {"1": node("LoadImage", image="dot.png"), "2": node("ImageInvert", image=["1", 0])}
        failed(taking.answer(own(graph, dot)), "invalid_graph")


class TestWorkerComfyuisShape:
    def test_its_event_is_answered_as_it_would(self, taking, dot, photo):
        answer = answer_of(taking.answer(theirs(inverting(), dot)))
        (image,) = answer["images"]
        assert set(answer) == {"images"}
        assert (image["filename"], image["type"]) == ("result_00001_.png", "base64")
        data = base64.b64decode(image["data"])
        assert is_inverted(data, photo)
        assert json.loads(picture_of(data).info["prompt"])["2"]["class_type"] == "ImageInvert"

    def test_input_may_be_a_json_text(self, taking, dot):
        text = json.dumps(theirs(inverting(), dot)["input"])
        assert len(answer_of(taking.answer({"input": text}))["images"]) == 1

    def test_image_may_be_base64_or_an_address(self, taking, dot, photo_url):
        for image in (dot.partition(",")[2], photo_url):
            assert "images" in answer_of(taking.answer(theirs(inverting(), image)))

    def test_results_go_to_the_bucket_where_there_is_one(
        self, make_function, bucket_settings, dot, photo
    ):
        function = make_function(bucket_settings.with_trusted_callers())
        (image,) = answer_of(function.answer(theirs(inverting(), dot)))["images"]
        assert (image["filename"], image["type"]) == ("result_00001_.png", "s3_url")
        assert is_inverted(fetched(image["data"]), photo)

    def test_pictures_of_previews_are_left_out(self, taking, dot):
        graph = inverting(("4", node("PreviewImage", images=["1", 0])))
        (image,) = answer_of(taking.answer(theirs(graph, dot)))["images"]
        assert image["filename"] == "result_00001_.png"

    def test_graph_that_saves_nothing_succeeds_without_images(self, taking, dot):
        graph = {
            "1": node("LoadImage", image="dot.png"),
            "4": node("PreviewImage", images=["1", 0]),
        }
        assert answer_of(taking.answer(theirs(graph, dot))) == {
            "status": "success_no_images",
            "images": [],
        }

    def test_names_count_as_in_an_empty_output_folder(self, taking, dot):
        graph = inverting(
            ("4", node("RepeatImageBatch", image=["1", 0], amount=2)),
            ("5", node("SaveImage", images=["4", 0], filename_prefix="result")),
            ("6", node("SaveImage", images=["1", 0], filename_prefix="a/b")),
        )
        answer = answer_of(taking.answer(theirs(graph, dot)))
        assert [image["filename"] for image in answer["images"]] == [
            "result_00001_.png",
            "result_00002_.png",
            "result_00003_.png",
            "b_00001_.png",
        ]

    def test_video_comes_back_too(self, taking, dot):
        graph = {
            "1": node("LoadImage", image="dot.png"),
            "2": node("RepeatImageBatch", image=["1", 0], amount=4),
            "3": node("CreateVideo", images=["2", 0], fps=8),
            "4": node("SaveVideo", video=["3", 0], filename_prefix="c/clip", format="mp4",
                      codec="h264"),
        }  # fmt: skip
        (video,) = answer_of(taking.answer(theirs(graph, dot)))["images"]
        assert video["filename"] == "clip_00001_.mp4"
        assert base64.b64decode(video["data"])[4:8] == b"ftyp"

    def test_images_that_no_node_loads_are_left_aside(self, taking, dot):
        more = [{"name": name, "image": dot} for name in ("dot.png", "other.png")]
        assert "images" in answer_of(taking.answer(theirs(inverting(), dot, images=more)))

    def test_failure_names_the_node_in_its_words(self, taking, dot):
        graph = inverting(("2", node("NoSuchNode", image=["1", 0])))
        answer = answer_of(taking.answer(theirs(graph, dot)))
        assert set(answer) == {"error", "details"}
        assert "NoSuchNode" in answer["error"]
        assert "code: missing_node_class" in answer["details"]
        assert "node_id: 2" in answer["details"]

    def test_refusal_has_its_shape_too(self, function, taking, dot):
        assert set(answer_of(function.answer(theirs(inverting(), dot)))) == {"error", "details"}
        broken = taking.answer({"input": {"workflow": inverting(), "images": 5}})
        assert set(answer_of(broken)) == {"error", "details"}


class TestKeyOfComfyOrg:
    GRAPH = inverting(("4", node("TestCallService")), ("5", node("SaveImage", images=["4", 0])))

    def test_nodes_get_it_and_nobody_else(self, taking, dot):
        lines = []

        class Collector(logging.Handler):
            def emit(self, record):
                lines.extend([JsonFormatter().format(record), TextFormatter().format(record)])

        collector = Collector()
        logging.getLogger().addHandler(collector)
        try:
            response = taking.answer(theirs(self.GRAPH, dot, comfy_org_api_key=KEY))
        finally:
            logging.getLogger().removeHandler(collector)
        told = failed(response, "node_failed")
        assert "the service does not know the key …" in told.error.message
        assert KEY not in json.dumps(told.to_json())
        assert any("the service does not know the key …" in line for line in lines)
        assert not any(KEY in line for line in lines)

    def test_workers_own_is_used_where_the_event_brings_none(self, make_function, local_settings):
        key = load_settings(comfy_org_api_key="the worker's key").comfy_org_api_key
        settings = local_settings.with_trusted_callers()
        function = make_function(settings.model_copy(update={"comfy_org_api_key": key}))
        graph = {"4": node("TestCallService"), "5": node("SaveImage", images=["4", 0])}
        told = failed(function.answer({"input": {"workflow": graph}}), "node_failed")
        assert "the key …" in told.error.message

    def test_without_one_nodes_get_none(self, taking, dot):
        told = failed(taking.answer(theirs(self.GRAPH, dot)), "node_failed")
        assert "the key None" in told.error.message


class TestMedia:
    def test_sound_goes_in_by_the_name_in_the_graph_and_comes_back(self, taking):
        tone = base64.b64encode(sound(seconds=0.5)).decode()
        graph = {
            "1": node("LoadAudio", audio="tone.wav"),
            "2": node("SaveAudio", audio=["1", 0], filename_prefix="audio/out"),
        }
        files = {"workflow": graph, "files": {"tone.wav": tone}}
        (output,) = succeeded(taking.answer({"input": files})).outputs
        # Older releases end the name with an underscore.
        assert output.kind == "audio"
        assert re.fullmatch(r"out_00001_?\.flac", output.filename)
        assert output.duration == pytest.approx(0.5, abs=0.05)
        images = {"workflow": graph, "images": [{"name": "tone.wav", "image": tone}]}
        (found,) = answer_of(taking.answer({"input": images}))["images"]
        assert found["filename"] == output.filename
        assert base64.b64decode(found["data"]).startswith(b"fLaC")

    def test_file_that_is_missing_is_named(self, taking):
        graph = {
            "1": node("LoadAudio", audio="tone.wav"),
            "2": node("SaveAudio", audio=["1", 0], filename_prefix="out"),
        }
        missing = taking.answer({"input": {"workflow": graph, "files": {}}})
        assert '"tone.wav"' in failed(missing, "invalid_parameter").error.message

    def test_texts_come_back_beside_the_images(self, taking, dot):
        graph = inverting(
            ("4", node("GetImageSize", image=["1", 0])), ("5", node("PreviewAny", source=["4", 0]))
        )
        answer = answer_of(taking.answer(theirs(graph, dot)))
        assert len(answer["images"]) == 1
        assert answer["texts"] == ["64"]
        alone = {name: graph[name] for name in ("1", "4", "5")}
        assert answer_of(taking.answer(theirs(alone, dot))) == {
            "status": "success_no_images",
            "images": [],
            "texts": ["64"],
        }
