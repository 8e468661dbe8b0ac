"""From pixels, or another node's file, to the bytes that are stored."""

import hashlib
import io
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from media_support import sound, video
from PIL import Image

from comfyui_runtime.run.outputs import FileOutput, ImageOutput, TextOutput
from comfyui_runtime.workflow.images import PixelImage
from handler.contract.errors import OutputError
from handler.contract.event import Output
from handler.contract.response import MAX_TEXT_BYTES
from handler.job.encode import EncodedFile, encode

IMAGES = st_numpy.arrays(
    np.uint8,
    st.tuples(st.integers(1, 12), st.integers(1, 12), st.sampled_from([3, 4])),
)


def encoded(image, output, metadata):
    return encode(ImageOutput("9", image), output, metadata)


def taken(name, data):
    return encode(FileOutput("9", name, data), Output(), {})


def decode(file: EncodedFile) -> np.ndarray:
    with Image.open(io.BytesIO(file.data)) as picture:
        return np.asarray(picture)


def photo_like(side=1024):
    """Noise of every scale, coarse to fine, as a photo has it."""
    random = np.random.default_rng(7)
    total = np.zeros((side, side, 3))
    for cells in (4, 16, 64, 256, side):
        coarse = Image.fromarray(random.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        total += np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)) / cells**0.8
    total -= total.min()
    return PixelImage((total * (255 / total.max())).astype(np.uint8))


@pytest.mark.parametrize(
    ("output", "content_type", "extension"),
    [
        (Output(format="png"), "image/png", "png"),
        (Output(format="webp", quality=100), "image/webp", "webp"),
    ],
)
@given(pixels=IMAGES)
@settings(deadline=None)
def test_lossless_formats_keep_every_pixel(output, content_type, extension, pixels):
    file = encoded(PixelImage(pixels), output, {})
    decoded = decode(file)
    if pixels.shape[2] == 4 and decoded.shape[2] == 3:
        # webp leaves out an alpha channel that is opaque everywhere
        assert (pixels[:, :, 3] == 255).all()
        pixels = pixels[:, :, :3]
    assert np.array_equal(decoded, pixels)
    assert (file.content_type, file.extension) == (content_type, extension)
    assert (file.width, file.height) == (pixels.shape[1], pixels.shape[0])


def test_a_view_of_a_larger_array_is_encoded_as_it_looks():
    whole = np.arange(24 * 24 * 3, dtype=np.uint8).reshape(24, 24, 3)
    view = whole[2:20:2, ::-1]
    assert np.array_equal(decode(encoded(PixelImage(view), Output(), {})), view)


def test_encoding_does_not_change_the_image():
    pixels = np.full((8, 8, 4), 100, np.uint8)
    before = pixels.copy()
    for output in (Output(), Output(format="webp"), Output(format="jpeg")):
        encoded(PixelImage(pixels), output, {})
    assert np.array_equal(pixels, before)


def test_jpeg_puts_transparency_over_white():
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[:16, :, 3] = 0  # clear
    pixels[16:, :, 3] = 128  # half clear black
    decoded = decode(encoded(PixelImage(pixels), Output(format="jpeg", quality=100), {}))
    assert decoded.shape == (32, 32, 3)
    assert np.abs(decoded[:8].astype(int) - 255).max() <= 2
    assert np.abs(decoded[24:].astype(int) - 127).max() <= 2


@pytest.mark.parametrize("name", ["jpeg", "webp"])
def test_a_lower_quality_makes_a_smaller_file_of_the_same_picture(name):
    image = photo_like(128)
    high = encoded(image, Output(format=name, quality=95), {})
    low = encoded(image, Output(format=name, quality=40), {})
    assert low.size < high.size
    error = np.abs(decode(high).astype(int) - image.pixels).mean()
    assert error < 6


def png_info(file):
    with Image.open(io.BytesIO(file.data)) as picture:
        picture.load()
        return dict(picture.info)


def test_png_says_that_its_colours_are_srgb_and_nothing_else():
    image = photo_like(16)
    info = png_info(encoded(image, Output(), {"prompt": '{"1": {}}'}))
    assert info == {"srgb": 0}


def test_the_graph_is_embedded_where_it_is_asked_for():
    image = photo_like(16)
    texts = {"prompt": '{"1": {}}', "note": "水彩 ✓"}
    info = png_info(encoded(image, Output(embed_workflow=True), texts))
    assert info == {"srgb": 0, **texts}


@pytest.mark.parametrize("name", ["jpeg", "webp"])
def test_only_png_embeds_the_graph(name):
    output = Output(format=name, embed_workflow=True)
    assert b"secret-prompt" not in encoded(photo_like(16), output, {"p": "secret-prompt"}).data


@pytest.mark.parametrize(("name", "width"), [("webp", 16_384), ("jpeg", 65_501)])
def test_a_picture_that_the_format_cannot_hold_is_told(name, width):
    image = PixelImage(np.zeros((1, width, 3), np.uint8))
    with pytest.raises(OutputError, match="png"):
        encoded(image, Output(format=name), {})
    assert encoded(image, Output(format="png"), {}).width == width


def test_the_widest_picture_of_a_format_is_encoded():
    for name, width in (("webp", 16_383), ("jpeg", 65_500)):
        image = PixelImage(np.zeros((1, width, 3), np.uint8))
        assert decode(encoded(image, Output(format=name), {})).shape[1] == width


def fastest(function, runs=3):
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.mark.slow
def test_png_takes_less_than_half_of_comfyuis_time_at_like_size():
    image = photo_like()
    picture = Image.fromarray(image.pixels)

    def as_comfyui_does():
        file = io.BytesIO()
        picture.save(file, "PNG", compress_level=4)
        return file.getvalue()

    ours = fastest(lambda: encoded(image, Output(), {}))
    assert ours * 2 < fastest(as_comfyui_does)
    assert encoded(image, Output(), {}).size < 1.25 * len(as_comfyui_does())


def test_hash_and_size_are_of_the_bytes():
    file = EncodedFile("9", b"bytes", "text/plain", "txt", None, None)
    assert file.size == 5
    assert file.sha256 == hashlib.sha256(b"bytes").hexdigest()


def test_the_bytes_are_not_in_the_representation():
    assert "hidden" not in repr(EncodedFile("9", b"hidden", "text/plain", "txt", None, None))


@pytest.mark.parametrize(
    ("name", "content_type", "extension"),
    [
        ("a.webm", "video/webm", "webm"),
        ("a.MP4", "video/mp4", "mp4"),
        ("a.flac", "audio/flac", "flac"),
        ("a.opus", "audio/ogg", "opus"),
        ("a.mp3", "audio/mpeg", "mp3"),
        ("a.glb", "model/gltf-binary", "glb"),
        ("a.latent", "application/octet-stream", "latent"),
        ("a.safetensors", "application/octet-stream", "safetensors"),
        ("a.txt", "text/plain; charset=utf-8", "txt"),
        ("a.json", "application/json", "json"),
        ("a.b.unheard-of", "application/octet-stream", "bin"),
        ("none", "application/octet-stream", "bin"),
        (".mp4", "application/octet-stream", "bin"),
    ],
)
def test_the_content_type_of_a_file_follows_from_its_name(name, content_type, extension):
    assert taken(name, b"content") == EncodedFile(
        "9", b"content", content_type, extension, None, None
    )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.png", "image"),
        ("a.webm", "video"),
        ("a.flac", "audio"),
        ("a.txt", "text"),
        ("a.glb", "3d"),
        ("a.ply", "3d"),
        ("a.latent", "file"),
        ("a.json", "file"),
    ],
)
def test_the_kind_of_a_file_follows_from_its_name(name, kind):
    assert taken(name, b"content").kind == kind


def test_a_video_and_a_sound_say_what_they_are():
    clip = taken("a.mp4", video(frames=16, rate=8))
    assert (clip.width, clip.height, clip.frame_rate) == (64, 48, 8)
    assert clip.duration == pytest.approx(2, abs=0.13)
    tone = taken("a.wav", sound(seconds=0.5))
    assert (tone.width, tone.duration, tone.sample_rate) == (None, pytest.approx(0.5), 16_000)


def test_a_text_is_held_by_the_response_up_to_a_limit():
    short, long = (
        encode(TextOutput("9", "x" * size), Output(), {})
        for size in (MAX_TEXT_BYTES, MAX_TEXT_BYTES + 1)
    )
    assert (short.kind, short.text) == ("text", "x" * MAX_TEXT_BYTES)
    assert (long.kind, long.text, long.extension) == ("text", None, "txt")


def test_a_file_on_the_disk_has_the_size_hash_and_dimensions_of_its_content(tmp_path):
    data = video()
    path = tmp_path / "made"
    path.write_bytes(data)
    on_disk, in_memory = taken("a.mp4", path), taken("a.mp4", data)
    assert on_disk.sha256 == in_memory.sha256
    assert (on_disk.size, on_disk.width) == (len(data), 64)


@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.webp", "a.avif"])
def test_an_image_file_has_its_dimensions(name):
    data = io.BytesIO()
    Image.new("RGB", (64, 48)).save(data, name[2:])
    file = taken(name, data.getvalue())
    assert (file.width, file.height) == (64, 48)
    assert file.content_type == f"image/{name[2:]}"


def test_an_image_of_an_unknown_kind_is_stored_without_dimensions():
    file = taken("drawing.svg", b"<svg/>")
    assert (file.content_type, file.width, file.height) == ("image/svg+xml", None, None)
