from __future__ import annotations

import io
import resource
import struct
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from time_bounds import SOON

from handler.contract.errors import InputError, InputTooLargeError, NotAnImageError
from handler.inputs.decode import FORMATS, count_jpeg_scans, decode_image

LIMIT = 50_000_000
SMALL_LIMIT = 100_000


def decode(data, max_pixels=LIMIT):
    return decode_image("photo", data, max_pixels=max_pixels).pixels


def close_to(pixels, expected, tolerance):
    difference = np.abs(pixels.astype(int) - np.asarray(expected).astype(int))
    return pixels.shape == np.asarray(expected).shape and difference.max() <= tolerance


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_file(width, height, *chunks, depth=8, colour_type=2, rows=b""):
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    body = [png_chunk(b"IHDR", header), *chunks, png_chunk(b"IDAT", zlib.compress(rows))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body) + png_chunk(b"IEND", b"")


# Formats


@pytest.mark.parametrize(
    ("image_format", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("WEBP", {"quality": 95}, 25),
        ("JPEG", {"quality": 95}, 25),
        ("JPEG", {"quality": 95, "progressive": True}, 25),
        ("AVIF", {"quality": 95}, 25),
        ("HEIF", {"quality": 95}, 25),
        ("MPO", {"quality": 95}, 25),
    ],
)
def test_a_photo_of_each_format_becomes_rgb(encode, pixels, image_format, options, tolerance):
    assert close_to(decode(encode(pixels, image_format, **options)), pixels, tolerance)


def test_the_first_frame_of_an_animation_is_taken(encode):
    red, blue = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    for image_format in ("GIF", "WEBP", "PNG", "TIFF", "AVIF"):
        data = encode(red, image_format, save_all=True, append_images=[blue])
        assert close_to(decode(data)[0, 0], (255, 0, 0), 3), image_format


def test_the_first_picture_of_an_mpo_file_is_taken(encode):
    red, blue = Image.new("RGB", (16, 16), "red"), Image.new("RGB", (16, 16), "blue")
    data = encode(red, "MPO", save_all=True, append_images=[blue])
    assert close_to(decode(data)[0, 0], (255, 0, 0), 3)


def test_a_heic_photo_with_transparency_keeps_it(encode):
    pixels = decode(encode(Image.new("RGBA", (16, 16), (250, 20, 60, 77)), "HEIF", quality=100))
    assert close_to(pixels[0, 0], (250, 20, 60, 77), 6)


def test_formats_that_are_not_listed_are_refused_and_the_listed_named(encode, pixels):
    for image_format in ("PPM", "TGA", "ICO", "PCX", "EPS"):
        with pytest.raises(NotAnImageError, match="Supported are JPEG, PNG, WEBP") as caught:
            decode(encode(pixels, image_format))
        assert caught.value.details["formats"] == list(FORMATS)


# Layouts of pixels


def test_grey_is_repeated_in_all_channels(encode, pixels):
    grey = pixels[..., 0]
    assert (decode(encode(grey)) == grey[..., np.newaxis].repeat(3, axis=2)).all()


def test_sixteen_bit_grey_keeps_its_brightness(encode):
    values = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    for image_format in ("PNG", "TIFF"):
        assert decode(encode(values, image_format))[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_sixteen_bit_colour_keeps_its_brightness():
    rows = b"\0" + struct.pack(">6H", 65535, 0, 32768, 0, 65535, 256)
    assert decode(png_file(2, 1, depth=16, rows=rows)).tolist() == [[[255, 0, 128], [0, 255, 1]]]


def test_a_transparent_grey_of_sixteen_bits_is_told_from_its_neighbour():
    rows = b"\0" + struct.pack(">3H", 300, 301, 65535)
    transparent = png_chunk(b"tRNS", struct.pack(">H", 300))
    pixels = decode(png_file(3, 1, transparent, depth=16, colour_type=0, rows=rows))
    assert pixels[0, :, 3].tolist() == [0, 255, 255]


def test_black_and_white_is_read(encode):
    image = Image.fromarray(np.array([[True, False]]))
    assert decode(encode(image)).tolist() == [[[255] * 3, [0] * 3]]


def test_a_cmyk_jpeg_keeps_its_colours(encode):
    for colour, expected in (((0, 255, 255, 0), (254, 0, 0)), ((0, 0, 0, 0), (255, 255, 255))):
        data = encode(Image.new("CMYK", (16, 16), colour), "JPEG", quality=95)
        assert close_to(decode(data)[8, 8], expected, 4)


def test_a_palette_becomes_its_colours(encode, pixels):
    image = Image.fromarray(pixels).quantize(200)
    assert (decode(encode(image)) == np.asarray(image.convert("RGB"))).all()


@pytest.mark.parametrize("image_format", ["PNG", "GIF"])
def test_a_transparent_palette_entry_becomes_alpha(encode, image_format):
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    pixels = decode(encode(image, image_format, transparency=1))
    assert pixels[0, 0].tolist() == [255, 0, 0, 255]
    assert pixels[0, 1, 3] == 0


def test_a_palette_with_an_alpha_for_each_entry_becomes_alpha(encode):
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    pixels = decode(encode(image, transparency=bytes([255, 100])))
    assert pixels.tolist() == [[[255, 0, 0, 255], [0, 0, 255, 100]]]


def test_a_transparent_colour_becomes_alpha(encode):
    image = Image.fromarray(np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8))
    pixels = decode(encode(image, transparency=(0, 0, 255)))
    assert pixels[0, :, 3].tolist() == [255, 0]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_kept_where_it_does_something(encode, mode, image_format):
    image = Image.new(mode, (2, 1), (90,) * (len(mode) - 1) + (255,))
    options = {"lossless": True, "exact": True} if image_format == "WEBP" else {}
    assert decode(encode(image, image_format, **options)).tolist() == [[[90, 90, 90]] * 2]
    image.putpixel((1, 0), (90,) * (len(mode) - 1) + (7,))
    pixels = decode(encode(image, image_format, **options))
    assert pixels.tolist() == [[[90, 90, 90, 255], [90, 90, 90, 7]]]


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_without_a_defined_range_are_refused(encode, mode):
    with pytest.raises(NotAnImageError, match="8 or 16 bits"):
        decode(encode(Image.new(mode, (2, 2), 1), "TIFF"))


# Colour profiles


def profile_file(name, **options):
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name, **options)).tobytes()


@pytest.fixture(scope="module")
def swapped_profile():
    """A profile whose red and green primaries are exchanged, so that its effect is seen."""
    profile = bytearray(profile_file("sRGB"))
    count = struct.unpack_from(">I", profile, 128)[0]
    tags = {bytes(profile[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    red, green = (bytes(profile[tags[tag] + 4 : tags[tag] + 12]) for tag in (b"rXYZ", b"gXYZ"))
    profile[tags[b"rXYZ"] + 4 : tags[b"rXYZ"] + 12] = green
    profile[tags[b"gXYZ"] + 4 : tags[b"gXYZ"] + 12] = red
    return bytes(profile)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_an_embedded_profile_is_converted_to_srgb(encode, swapped_profile, image_format):
    options = {"quality": 95} if image_format in ("JPEG", "WEBP", "AVIF") else {}
    data = encode(
        Image.new("RGB", (16, 16), (250, 20, 60)),
        image_format,
        icc_profile=swapped_profile,
        **options,
    )
    assert close_to(decode(data)[8, 8], (20, 250, 60), 9)


def test_a_profile_leaves_alpha_alone(encode, swapped_profile):
    data = encode(Image.new("RGBA", (1, 1), (250, 20, 60, 77)), icc_profile=swapped_profile)
    assert close_to(decode(data)[0, 0], (20, 250, 60, 77), 2)


def test_a_profile_applies_to_the_colours_of_a_palette(encode, swapped_profile):
    image = Image.new("RGB", (1, 1), (250, 20, 60)).quantize(2)
    assert close_to(decode(encode(image, icc_profile=swapped_profile))[0, 0], (20, 250, 60), 2)


def test_an_srgb_profile_changes_nothing_to_be_seen(encode, pixels):
    assert close_to(decode(encode(pixels, icc_profile=profile_file("sRGB"))), pixels, 1)


@pytest.mark.parametrize("profile", [b"damaged", b"\0" * 500])
def test_a_damaged_profile_is_ignored(encode, pixels, profile):
    assert (decode(encode(pixels, icc_profile=profile)) == pixels).all()


def test_a_profile_for_another_kind_of_pixels_is_ignored(encode, pixels):
    assert (decode(encode(pixels, icc_profile=profile_file("LAB"))) == pixels).all()


# Orientation


UPRIGHT = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: image[::-1, ::-1].transpose(1, 0, 2),
    8: lambda image: np.rot90(image, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_the_orientation_of_the_camera_is_applied(encode, pixels, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    for image_format, options, tolerance in (
        ("PNG", {}, 0),
        ("TIFF", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("JPEG", {"quality": 95}, 25),
        ("AVIF", {"quality": 95}, 25),
        ("HEIF", {"quality": 95}, 25),
        ("MPO", {"quality": 95}, 25),
    ):
        data = encode(pixels, image_format, exif=exif.tobytes(), **options)
        assert close_to(decode(data), UPRIGHT[orientation](pixels), tolerance), image_format


def test_damaged_exif_data_does_not_spoil_the_photo(encode, pixels):
    for exif in (b"Exif\0\0damaged", b"Exif\0\0II*\0", b"Exif\0\0" + b"\xff" * 40):
        for image_format in ("WEBP", "PNG"):
            data = encode(pixels, image_format, exif=exif, lossless=True)
            assert (decode(data) == pixels).all()


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_none(encode, pixels, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    assert (decode(encode(pixels, exif=exif)) == pixels).all()


# Files that are not what they should be


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"", "empty"),
        (b"This is only a text.\n", "text"),
        (b"  <svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"<!doctype html><title>403</title>", "HTML"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"%PDF-1.7\n\xe2\xe3\xcf\xd3\n", "another format"),
        (b"\x89PNG\r\n\x1a\n", "cut short"),
    ],
)
def test_what_is_not_an_image_is_refused_with_a_hint(data, hint):
    with pytest.raises(NotAnImageError, match=hint) as caught:
        decode(data)
    assert caught.value.details["image"] == "photo"


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_file_that_is_cut_short_is_refused(encode, image_format):
    noise = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)
    data = encode(noise, image_format)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(NotAnImageError):
            decode(data[: int(len(data) * share)])


def test_one_format_in_the_header_of_another_is_refused(encode, pixels):
    jpeg, png = encode(pixels, "JPEG"), encode(pixels)
    for data in (png[:8] + jpeg, jpeg[:20] + png[20:], b"RIFF\0\0\0\0WEBPVP8 " + png):
        with pytest.raises(NotAnImageError):
            decode(data)


# Bombs


def grown_by(action):
    """Return by how many MiB the process' peak memory grew, and for how many seconds it ran."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    action()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return grown / 1024, time.monotonic() - started


def refused_as_too_large(data):
    with pytest.raises(InputTooLargeError, match="INPUT_MAX_PIXELS"):
        decode(data)


def refused_as_no_image(data, match=None):
    with pytest.raises(NotAnImageError, match=match):
        decode(data)


@pytest.mark.parametrize(
    ("width", "height"), [(50_000, 50_000), (50_000, 1_001), (2**31 - 1, 1), (50_000, 3_000)]
)
def test_a_png_of_a_kilobyte_and_50000_pixels_wide_is_refused_undecoded(width, height):
    data = png_file(width, height, rows=b"\0" * 500_000)
    assert len(data) < 1024
    mebibytes, seconds = grown_by(lambda: refused_as_too_large(data))
    assert mebibytes < 20
    assert seconds < SOON


def test_too_many_pixels_are_refused_in_every_format(encode, pixels):
    for image_format in FORMATS:
        data = encode(pixels, image_format)
        assert decode(data, max_pixels=pixels.shape[0] * pixels.shape[1]).shape == pixels.shape
        with pytest.raises(InputTooLargeError, match="32 x 24 pixels") as caught:
            decode(data, max_pixels=pixels.shape[0] * pixels.shape[1] - 1)
        assert caught.value.details == {
            "image": "photo",
            "max_pixels": 767,
            "width": 32,
            "height": 24,
        }


def test_a_webp_canvas_of_any_size_takes_no_memory(encode):
    frame = encode(Image.new("RGB", (1, 1)), "WEBP", lossless=True)[12:]

    def webp_chunk(kind, data):
        return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)

    for side in (8_000, 13_000, 16_000):
        size = (side - 1).to_bytes(3, "little")
        animation = b"\0" * 12 + (100).to_bytes(3, "little") + b"\0" + frame
        body = (
            b"WEBP"
            + webp_chunk(b"VP8X", b"\x02\0\0\0" + size + size)
            + webp_chunk(b"ANIM", b"\0" * 6)
            + webp_chunk(b"ANMF", animation)
        )

        data = webp_chunk(b"RIFF", body)
        mebibytes, seconds = grown_by(lambda data=data: refused_as_too_large(data))
        assert mebibytes < 20
        assert seconds < SOON


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_text_that_unpacks_to_gigabytes_takes_no_memory(kind):
    packed = zlib.compress(b"\0" * 20_000_000, 1)
    start = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\x01\0\0\0", b"iCCP": b"k\0\0"}[kind]
    data = png_file(1, 1, *[png_chunk(kind, start + packed)] * 40, rows=b"\0\1\2\3")

    mebibytes, seconds = grown_by(lambda: refused_as_no_image(data))
    assert mebibytes < 100
    assert seconds < SOON


def test_a_jpeg_whose_scans_never_end_is_refused_undecoded(encode):
    data = encode(Image.new("L", (1000, 1000), 128), "JPEG", progressive=True)
    last_scan = data[data.rindex(b"\xff\xda") : -2]
    endless = data[:-2] + last_scan * 100_000 + data[-2:]

    _, seconds = grown_by(lambda: refused_as_no_image(endless, "more than 100 scans"))
    assert seconds < SOON
    few_more = data[:-2] + last_scan * 20 + data[-2:]
    assert decode(few_more).shape == (1000, 1000, 3)


# Manners


def test_pillows_warnings_do_not_leak_and_those_of_others_do():
    large = png_file(50_000, 2_000, rows=b"\0" * 1000)
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(io.BytesIO(large))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert isinstance(outcome(large), InputTooLargeError)
        assert caught == []
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        assert len(caught) == 1


def test_threads_may_decode_at_once(encode):
    files = [encode(np.full((64, 64, 3), shade * 10, np.uint8)) for shade in range(16)]
    with ThreadPoolExecutor(4) as threads:
        shades = [int(pixels[0, 0, 0]) for pixels in threads.map(decode, files)]
    assert shades == [shade * 10 for shade in range(16)]


def outcome(data):
    try:
        return decode(data, SMALL_LIMIT)
    except InputError as error:
        return error


def is_an_answer(answer):
    if isinstance(answer, InputError):
        return "'photo'" in answer.message
    return answer.dtype == np.uint8 and answer.ndim == 3 and answer.shape[2] in (3, 4)


MAGIC = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    b"\xff\xd8\xff\xe0\0\x10JFIF\0",
    b"RIFF\xff\0\0\0WEBPVP8 ",
    b"GIF89a",
    b"BM",
    b"II*\0\x08\0\0\0",
    b"MM\0*\0\0\0\x08",
    b"\0\0\0\x1cftypavif",
)


@given(st.sampled_from((b"", *MAGIC)), st.binary(max_size=300))
def test_any_bytes_are_an_image_or_an_input_error(magic, rest):
    assert is_an_answer(outcome(magic + rest))


@pytest.fixture(scope="module")
def files(encode, pixels):
    """Small files of every format and of several layouts."""
    small = Image.fromarray(pixels[:8, :8])
    exif = Image.Exif()
    exif[274] = 6
    extras = {"exif": exif, "icc_profile": profile_file("sRGB")}
    return [
        *(
            encode(small, image_format, **extras)
            for image_format in ("PNG", "JPEG", "WEBP", "TIFF")
        ),
        *(encode(small, image_format) for image_format in ("GIF", "BMP", "AVIF")),
        encode(small.quantize(16), transparency=bytes(range(16))),
        encode(small.convert("CMYK"), "JPEG"),
        encode(small, "JPEG", progressive=True),
        encode(np.full((8, 8), 300, np.uint16), transparency=300),
    ]


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_damaged_file_is_an_image_or_an_input_error(files, data):
    file = bytearray(data.draw(st.sampled_from(files)))
    places = st.integers(0, len(file) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=6)):
        file[place] = value
    cut = data.draw(st.integers(0, len(file)))
    assert is_an_answer(outcome(bytes(file)))
    assert is_an_answer(outcome(bytes(file[:cut])))


def test_the_array_belongs_to_the_image_alone(encode, pixels):
    first = decode(encode(pixels))
    assert first.flags.c_contiguous
    assert not first.flags.writeable


# Scans of JPEG files


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)


def count(data):
    return count_jpeg_scans(data, stop_after=100)


def test_a_baseline_file_has_one_scan_and_a_progressive_one_ten(encode, noise):
    assert count(encode(noise, "JPEG", quality=95)) == 1
    assert count(encode(noise, "JPEG", quality=95, progressive=True)) == 10
    assert count(encode(noise[..., 0], "JPEG", progressive=True)) == 6


def test_restart_markers_do_not_end_a_scan(encode, noise):
    data = encode(noise, "JPEG", progressive=True, restart_marker_blocks=1)
    assert count(data) == 10


def test_pictures_inside_metadata_and_after_the_end_do_not_count(encode, noise):
    inner = encode(noise, "JPEG", progressive=True)
    exif = b"Exif\0\0" + inner
    assert count(encode(noise, "JPEG", exif=exif) + inner * 30) == 1


def test_bytes_between_segments_hide_nothing(encode, noise):
    data = encode(Image.fromarray(noise), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    assert count(data[:-2] + (b"\0junk\xff\xff" + scan) * 5 + data[-2:]) == 15


def test_the_count_stops_beyond_the_limit(encode, noise):
    data = encode(noise, "JPEG", progressive=True)
    assert count_jpeg_scans(data, stop_after=3) == 4


def test_other_files_have_none(encode, noise):
    assert count(encode(noise)) == 0
    assert count(b"") == 0


@given(st.binary(max_size=200))
def test_any_bytes_are_counted(data):
    assert 0 <= count(b"\xff\xd8" + data) <= 101
