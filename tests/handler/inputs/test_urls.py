from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.inputs.urls import parse_http_url

hosts = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?(\.[a-z]{2,5}){0,2}", fullmatch=True)
text_of_targets = st.text(st.characters(exclude_characters="#?\t\r\n", exclude_categories=("Cs",)))


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
