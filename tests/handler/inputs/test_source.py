from __future__ import annotations

import base64
import re
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.contract.errors import InputError, InputTooLargeError
from handler.inputs.source import (
    HttpSource,
    InlineSource,
    ObjectSource,
    parse_http_url,
    parse_source,
)
from handler.inputs.wanted import Wanted

LIMIT = 10_000
hosts = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?(\.[a-z]{2,5}){0,2}", fullmatch=True)
text_of_targets = st.text(st.characters(exclude_characters="#?\t\r\n", exclude_categories=("Cs",)))
some_bytes = st.binary(min_size=1, max_size=200)


def parse(text, max_bytes=LIMIT):
    return parse_source(Wanted("photo", max_bytes), text)


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


# URLs


@given(st.sampled_from(["http", "https"]), hosts, st.integers(1, 65535))
def test_scheme_host_and_port_are_kept(scheme, host, port):
    url = parse_http_url(f"{scheme}://{host}:{port}/a")
    assert (url.scheme, url.host, url.port, url.target) == (scheme, host, port, "/a")
    assert parse_http_url(url.shown) == url


@given(hosts, text_of_targets, text_of_targets)
def test_any_path_and_query_become_something_that_a_request_line_can_carry(host, path, query):
    url = parse_http_url(f"http://{host}/{path}?{query}")
    assert re.fullmatch(r"[\x21-\x7e]+", url.target)
    assert "?" not in url.shown


def test_a_signed_target_is_sent_as_it_was_given_and_shown_without_its_signature():
    url = parse_http_url("https://h.example/a%2Fb+c/d?X-Amz-Signature=s%2B=&x=[1]|~#part")
    assert url.target == "/a%2Fb+c/d?X-Amz-Signature=s%2B=&x=[1]|~"
    assert url.shown == "https://h.example/a%2Fb+c/d"


@pytest.mark.parametrize(
    ("text", "authority", "port"),
    [
        ("HTTP://Example.COM", "example.com", 80),
        ("https://example.com.:443/", "example.com", 443),
        ("http://example.com:443/", "example.com:443", 443),
        ("http://[0:0::1]:8080/", "[::1]:8080", 8080),
        ("https://bücher.example/", "xn--bcher-kva.example", 443),
        ("http://①②⑦.⓪.⓪.①/", "127.0.0.1", 80),
        ("http://my_bucket.example/", "my_bucket.example", 80),
    ],
)
def test_hosts_have_one_spelling(text, authority, port):
    url = parse_http_url(text)
    assert (url.authority, url.port) == (authority, port)


@pytest.mark.parametrize(
    "text",
    [
        "http://",
        "http:///path",
        "http://user@example.com/",
        "http://user:password@example.com/",
        "http://@example.com/",
        "http://example.com\\@127.0.0.1/",
        "http://example.com:0/",
        "http://example.com:65536/",
        "http://example.com:port/",
        "http://exa mple.com/",
        "http://a..b/",
        "http://.example.com/",
        f"http://{'a' * 64}.com/",
        f"http://{'a.' * 127}com/",
        "http://%31%32%37.0.0.1/",
        "http://[::1/",
        "http://[fe80::1%25eth0]/",
        "http://[v1.x]/",
        "http://xn--\u0300.example/",
        "ftp://example.com/",
        "//example.com/",
    ],
)
def test_urls_that_could_be_read_in_two_ways_or_not_at_all_are_refused(text):
    with pytest.raises(ValueError, match=r"^(it|its|port) "):
        parse_http_url(text)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/b", "https://h.example:8443/b"),
        ("c?d", "https://h.example:8443/a/c?d"),
        ("//other.example/e", "https://other.example/e"),
        ("http://other.example", "http://other.example/"),
    ],
)
def test_a_location_is_resolved_against_the_url_that_sent_it(location, expected):
    url = parse_http_url("https://h.example:8443/a/b?c").join(location)
    assert f"{url.scheme}://{url.authority}{url.target}" == expected
