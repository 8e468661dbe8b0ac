"""One file over HTTP: what hosts state of it, tokens, and room for it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from provisioning_support.content import safetensors, sha256

from comfyui_runtime.run.cancellation import Cancellation
from handler.inputs.guard import resolve_with_system
from handler.inputs.source import parse_http_url
from handler.inputs.time_limit import TimeLimit
from handler.models.errors import ModelFetchError
from handler.models.fetching import place_checked
from handler.models.part import PartFile
from handler.models.web import AnyAddress, Web

STYLE = safetensors(b"style" * 1000)


@pytest.fixture
def fetch(tmp_path):
    def fetch(address, tokens=None):
        part = PartFile(tmp_path / "style.safetensors")
        web = Web(AnyAddress(), resolve_with_system, tokens=tokens or {})
        return part, web.fetch(address, part, TimeLimit(20, Cancellation()))

    return fetch


def test_the_digest_that_hugging_face_states_in_its_redirect_is_checked(host, fetch, tmp_path):
    host.files["/storage"] = STYLE
    host.redirects["/style"] = host.address("/storage")
    host.redirect_headers = {"X-Linked-ETag": f'"{"0" * 64}"'}
    part, stated = fetch(host.address("/style"))
    assert stated == "0" * 64
    with pytest.raises(ModelFetchError, match=f"sha256 {sha256(STYLE)}, and {stated} was expected"):
        place_checked(part, tmp_path / "style.safetensors", stated)
    assert not list(tmp_path.glob("style*"))


def test_a_token_goes_over_tls_or_to_this_machine_alone():
    web = Web(AnyAddress(), resolve_with_system, tokens={"a.test": "secret", "127.0.0.1:8": "s"})
    assert web._token(parse_http_url("https://a.test/x")) == "secret"
    assert web._token(parse_http_url("http://127.0.0.1:8/x")) == "s"
    assert web._token(parse_http_url("http://a.test/x")) is None
    assert web._token(parse_http_url("https://a.test:8443/x")) is None
    assert web._token(parse_http_url("https://b.a.test/x")) is None


def test_a_host_that_wants_a_login_names_the_setting_of_its_token(host, fetch, monkeypatch):
    monkeypatch.setattr("handler.models.web.TOKEN_SETTINGS", {"127.0.0.1": "HF_TOKEN"})
    host.tokens["/style"] = "secret"
    with pytest.raises(ModelFetchError, match="status 401: set HF_TOKEN"):
        fetch(host.address("/style"))


def test_a_volume_without_room_is_named_before_anything_is_written(host, fetch, monkeypatch):
    host.files["/style"] = STYLE
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(ModelFetchError, match="has 10 left: use a larger volume"):
        fetch(host.address("/style"))


def test_redirects_have_an_end(host, fetch):
    host.redirects["/style"] = host.address("/style")
    with pytest.raises(ModelFetchError, match="redirects more than"):
        fetch(host.address("/style"))
