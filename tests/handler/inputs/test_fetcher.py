from __future__ import annotations

import base64

import pytest

from handler.contract.errors import InputError, InputTooLargeError, NotAnImageError


def as_base64(data):
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("form", ["{}", "data:image/png;base64,{}", "data:text/html;base64,{}"])
def test_inline_images_are_decoded(fetch, photo, pixels, form):
    assert (fetch(form.format(as_base64(photo))).pixels == pixels).all()


def test_every_kind_of_source_gives_the_same_image(fetch, site, photo):
    site.page("/photo.png", photo)
    assert fetch(site.url("/photo.png")).digest == fetch(as_base64(photo)).digest


def test_a_text_file_named_png_is_not_an_image(fetch, site):
    site.page("/photo.png", b"This is only a text.\n", content_type="image/png")
    with pytest.raises(NotAnImageError, match="it is text"):
        fetch(site.url("/photo.png"))


def test_a_path_on_the_workers_disk_is_not_read(fetch, photo, tmp_path):
    file = tmp_path / "photo.png"
    file.write_bytes(photo)
    for source in (str(file), f"file://{file}", f"file:{file}", "photo.png", "./photo.png"):
        with pytest.raises(InputError):
            fetch(source)


def test_limits_of_the_settings_hold_for_inline_images(fetch, photo):
    with pytest.raises(InputTooLargeError, match="INPUT_MAX_BYTES"):
        fetch(as_base64(photo), input_max_bytes=len(photo) - 1)
    with pytest.raises(InputTooLargeError, match="INPUT_MAX_PIXELS"):
        fetch(as_base64(photo), input_max_pixels=767)


def test_every_error_names_the_image(make_fetcher, site):
    from comfyui_runtime.run.cancellation import Cancellation

    site.page("/missing", status=404)
    sources = (
        "ftp://h/",
        "http://",
        "!",
        "AAAA",
        "s3://b/k",
        "http://[::1]/",
        site.url("/missing"),
    )
    for source in sources:
        with pytest.raises(InputError, match="'mask'") as caught:
            make_fetcher().fetch("mask", source, Cancellation())
        assert caught.value.details["image"] == "mask"
