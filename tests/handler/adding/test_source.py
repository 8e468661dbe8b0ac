from __future__ import annotations

import json
import threading
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from handler.adding.errors import WorkflowFileError
from handler.adding.source import read_source, slug, template_folder

API = {"1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}}}
EDITOR = {"nodes": [{"id": 1, "type": "LoadImage"}], "links": []}


def written(path, data):
    path.write_text(json.dumps(data))
    return str(path)


def test_name_and_title_come_from_the_files_name(tmp_path):
    source = read_source(written(tmp_path / "My great_Workflow (2).json", API))
    assert (source.name, source.title) == ("my-great-workflow-2", "My great Workflow (2)")
    assert source.data == API


def test_editors_format_in_a_png_is_preferred_to_the_graph_beside_it(tmp_path):
    info = PngInfo()
    info.add_text("prompt", json.dumps(API))
    info.add_text("workflow", json.dumps(EDITOR))
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=info)
    assert read_source(str(tmp_path / "a.png")).data == EDITOR


@pytest.mark.parametrize("ending", ["webp", "jpg"])
def test_workflow_is_read_from_exif_as_comfyui_writes_it(tmp_path, ending):
    exif = Image.Exif()
    exif[0x0110] = "prompt:" + json.dumps(API)
    exif[0x010F] = "workflow:" + json.dumps(EDITOR)
    Image.new("RGB", (8, 8)).save(tmp_path / f"a.{ending}", exif=exif)
    assert read_source(str(tmp_path / f"a.{ending}")).data == EDITOR


def test_workflow_is_read_from_a_videos_metadata(tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w", options={"movflags": "use_metadata_tags"}) as container:
        container.metadata["prompt"] = json.dumps(API)
        stream = container.add_stream("mpeg4", rate=Fraction(8))
        stream.width = stream.height = 16
        for packet in stream.encode(av.VideoFrame(16, 16, "yuv420p")):
            container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    assert read_source(str(path)).data == API


@pytest.mark.parametrize(
    "around", [{"prompt": API}, {"input": {"workflow": API}}, {"workflow": EDITOR, "prompt": API}]
)
def test_workflow_is_found_in_what_other_tools_put_around_it(tmp_path, around):
    assert read_source(written(tmp_path / "a.json", around)).data in (API, EDITOR)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"hello", "neither JSON nor a picture"),
        (b"", "neither JSON nor a picture"),
        (b"{", "is not JSON"),
        (b"[1, 2]", "no workflow of ComfyUI's"),
        (b"{}", "no workflow of ComfyUI's"),
    ],
)
def test_file_without_a_workflow_is_refused_with_the_reason(tmp_path, content, complaint):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(WorkflowFileError, match=complaint):
        read_source(str(path))


def test_picture_without_a_workflow_is_refused_with_the_reason(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(WorkflowFileError, match="carries no workflow"):
        read_source(str(tmp_path / "a.png"))


def test_name_that_is_neither_file_nor_template_is_refused():
    with pytest.raises(WorkflowFileError, match="no official template has that name"):
        read_source("no_such_thing")


@pytest.mark.skipif(template_folder() is None, reason="needs comfyui-workflow-templates-json")
def test_template_is_read_by_its_name():
    assert read_source("flux_schnell").data["nodes"]


class _Files(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(API).encode() if "there" in self.path else b""
        self.send_response(200 if body else 404)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args):
        pass


@pytest.fixture
def address():
    server = HTTPServer(("127.0.0.1", 0), _Files)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_workflow_is_fetched_from_an_address(address):
    source = read_source(f"{address}/files/is%20there.json?download=1")
    assert (source.name, source.data) == ("is-there", API)


def test_address_that_answers_with_an_error_is_refused(address):
    with pytest.raises(WorkflowFileError, match="cannot be fetched"):
        read_source(f"{address}/files/lost.json")


def test_slug_is_a_parameters_name():
    assert slug(" LoRA: Strength (2) ") == "lora_strength_2"
