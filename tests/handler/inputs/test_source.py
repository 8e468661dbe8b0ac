from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.contract.errors import InputError, InputTooLargeError
from handler.inputs.source import HttpSource, InlineSource, ObjectSource, parse_source

LIMIT = 10_000
some_bytes = st.binary(min_size=1, max_size=200)


def parse(text, max_bytes=LIMIT):
    return parse_source("photo", text, max_bytes=max_bytes)


def parse_or_error(text):
    try:
        return parse(text)
    except InputError as error:
        return error


@given(some_bytes, st.sampled_from([base64.b64encode, base64.urlsafe_b64encode]), st.booleans())
def test_base64_of_both_alphabets_with_or_without_padding_is_read(data, encode, padded):
    text = encode(data).decode()
    assert parse(text if padded else text.rstrip("=")) == InlineSource(data)


@given(some_bytes, st.integers(1, 76), st.sampled_from(["\n", "\r\n", " "]))
def test_wrapped_base64_is_read(data, width, separator):
    text = base64.b64encode(data).decode()
    lines = separator.join(text[at : at + width] for at in range(0, len(text), width))
    assert parse(f"\n {lines}\n") == InlineSource(data)


@given(some_bytes, st.sampled_from(["", "image/png", "text/plain;charset=utf-8"]))
def test_a_data_uri_is_read_whatever_type_it_claims(data, media_type):
    encoded = base64.b64encode(data).decode()
    assert parse(f"data:{media_type};base64,{encoded}") == InlineSource(data)
    assert parse(f"DATA:{media_type};BASE64,{quote(encoded)}") == InlineSource(data)
    assert parse(f"data:{media_type},{quote(data)}") == InlineSource(data)


@given(
    st.from_regex(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", fullmatch=True),
    st.text(st.characters(exclude_categories=("Z", "C")), min_size=1),
)
def test_an_object_keeps_its_bucket_and_its_key_to_the_letter(bucket, key):
    assert parse(f"s3://{bucket}/{key}") == ObjectSource(bucket, key)


@given(st.text(max_size=300))
def test_any_text_is_a_source_or_an_input_error(text):
    outcome = parse_or_error(text)
    if isinstance(outcome, InputError):
        assert "'photo'" in outcome.message
        assert outcome.details["image"] == "photo"
    else:
        assert isinstance(outcome, HttpSource | ObjectSource | InlineSource)


@given(
    st.sampled_from(["http:", "https:", "s3:", "data:", "file:", "ftp:", "//", "/"]),
    st.text(max_size=60),
)
def test_a_source_is_never_a_path_on_disk(prefix, rest):
    outcome = parse_or_error(prefix + rest)
    if isinstance(outcome, HttpSource):
        assert outcome.url.scheme in ("http", "https")
        assert outcome.url.host
    else:
        assert isinstance(outcome, ObjectSource | InlineSource | InputError)


@pytest.mark.parametrize(
    "text",
    [
        "file:///etc/passwd",
        "FILE:/etc/passwd",
        "C:\\photo.png",
        "./photo.png",
        "photo.png",
        "~/photo.png",
        "ftp://example.com/photo.png",
        "gopher://example.com/",
        "javascript:alert(1)",
    ],
)
def test_paths_and_other_schemes_are_refused_with_what_is_possible(text):
    with pytest.raises(InputError, match=r"http\(s\) URL, a data URI.*s3://bucket/key"):
        parse(text)


@pytest.mark.parametrize("text", ["", "  ", "data:image/png;base64,", "===="])
def test_nothing_is_refused(text):
    with pytest.raises(InputError, match="empty"):
        parse(text)


@pytest.mark.parametrize("text", ["s3://", "s3://bucket", "s3://bucket/", "s3:///key", "s3:b/k"])
def test_half_an_object_address_is_refused(text):
    with pytest.raises(InputError, match="s3://bucket/key"):
        parse(text)


def test_a_data_uri_without_a_comma_is_refused():
    with pytest.raises(InputError, match="no comma"):
        parse("data:image/png;base64")


@pytest.mark.parametrize("form", ["{base64}", "data:;base64,{base64}", "data:,{plain}"])
def test_inline_data_of_just_the_limit_passes_and_one_byte_more_does_not(form):
    def text(size):
        return form.format(base64=base64.b64encode(b"a" * size).decode(), plain="a" * size)

    assert parse(text(100), max_bytes=100) == InlineSource(b"a" * 100)
    with pytest.raises(InputTooLargeError, match="INPUT_MAX_BYTES"):
        parse(text(101), max_bytes=100)


def test_the_text_is_not_repeated_in_messages_nor_bytes_in_representations():
    with pytest.raises(InputError) as caught:
        parse("c2VjcmV0!")
    assert "c2VjcmV0" not in str(caught.value)
    assert "secret" not in repr(InlineSource(b"secret"))
