from __future__ import annotations

import hashlib
import time
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from platforms_support.http_server import error_of, event
from pydantic import SecretStr

from comfyui_runtime.run.outputs import FileOutput
from handler.contract.errors import ConfigurationError
from handler.http.results import ResultLinks
from handler.job.encode import EncodedFile, named_file
from handler.job.kept import open_kept_results
from handler.settings import load_settings

TOKEN = "correct horse battery"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def guarded(make_server):
    return make_server(api_token=SecretStr(TOKEN))


class TestToken:
    def test_is_needed(self, guarded):
        for method, path in [
            ("POST", "/v1/invoke"),
            ("POST", "/v1/jobs"),
            ("GET", "/v1/jobs/x"),
            ("GET", "/v1/jobs/x/events"),
            ("DELETE", "/v1/jobs/x"),
            ("GET", "/v1/workflows"),
            ("GET", "/v1/models"),
            ("GET", "/v1/results/x/0.png"),
            ("GET", "/metrics"),
            ("GET", "/openapi.json"),
            ("POST", "/invoke"),
            ("POST", "/event-invoke"),
            ("POST", "/invocations"),
            ("POST", "/v1/models/invert:predict"),
            ("GET", "/nowhere"),
            ("GET", "/health/"),
            ("GET", "/page"),
        ]:
            response = guarded.client.request(method, path, content=b"not even read")
            error_of(response, 401, "unauthorized")
            assert response.headers["www-authenticate"] == "Bearer"

    def test_lets_in(self, guarded):
        assert guarded.post("/v1/invoke", event(), headers=BEARER).status_code == 200
        assert guarded.get("/metrics", headers=BEARER).status_code == 200
        document = guarded.get("/openapi.json", headers=BEARER).json()
        assert document["security"] == [{"token": []}]

    def test_wrong_one_does_not(self, guarded):
        for value in (
            "Bearer wrong",
            "Bearer",
            f"Basic {TOKEN}",
            TOKEN,
            f"Bearer {TOKEN}x",
            f"Bearer {TOKEN[:-1]}",
            "Bearer \u00ff",
        ):
            headers = {"Authorization": value.encode("latin-1")}
            error_of(guarded.get("/v1/workflows", headers=headers), 401, "unauthorized")

    def test_line_end_of_a_secrets_file_is_no_part_of_it(self, make_server):
        token = load_settings(api_token=f" {TOKEN}\r\n").api_token
        assert make_server(api_token=token).get("/metrics", headers=BEARER).status_code == 200

    @pytest.mark.parametrize(
        "token", ["two\nlines and more", "pässword long", "tab\tin the middle"]
    )
    def test_that_no_header_can_hold_is_refused_at_the_start(self, token, monkeypatch):
        monkeypatch.setenv("API_TOKEN", token)
        with pytest.raises(ConfigurationError, match=r"API_TOKEN: use printable ASCII"):
            load_settings()

    def test_is_not_needed_for_probes(self, guarded):
        for path in ("/", "/health", "/ready", "/ping", "/pre-stop"):
            assert guarded.get(path).status_code == 200, path
        assert guarded.post("/initialize", {}).status_code == 200
        error_of(guarded.get("/page/none.js"), 404, "not_found")


class TestResults:
    def test_signed_address_needs_no_token(self, guarded):
        body = guarded.post("/v1/invoke", event(), headers=BEARER).json()
        url = body["outputs"][0]["url"]
        response = guarded.get(url)
        assert response.status_code == 200
        assert hashlib.sha256(response.content).hexdigest() == body["outputs"][0]["sha256"]
        assert TOKEN not in url

    def test_changed_or_bare_address_needs_it(self, guarded):
        body = guarded.post("/v1/invoke", event(id="a"), headers=BEARER).json()
        guarded.post("/v1/invoke", event(id="b"), headers=BEARER)
        url = body["outputs"][0]["url"]
        for changed in (
            url.partition("?")[0],
            url.replace("results/a/", "results/b/"),
            url[:-1] + ("0" if url[-1] != "0" else "1"),
            url.replace("expires=", "expires=9"),
        ):
            error_of(guarded.get(changed), 401, "unauthorized")

    def test_public_address_is_bare(self, guarded):
        public = event(output={"url": "public"})
        (output,) = guarded.post("/v1/invoke", public, headers=BEARER).json()["outputs"]
        assert not urlsplit(output["url"]).query
        error_of(guarded.get(output["url"]), 401, "unauthorized")
        assert guarded.get(output["url"], headers=BEARER).status_code == 200

    def test_signature_ends(self, monkeypatch):
        links = ResultLinks(SecretStr(TOKEN))
        path, _, query = links.path("a/0.png", 60).partition("?")
        assert links.is_signed(path, query.encode())
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 61)
        assert not links.is_signed(path, query.encode())

    def test_public_url_names_the_server(self, make_server):
        server = make_server(public_url="https://pictures.test/base/")
        (output,) = server.post("/v1/invoke", event(id="a")).json()["outputs"]
        assert output["url"] == "https://pictures.test/base/v1/results/a/0.png"

    def test_address_is_the_one_that_the_caller_used(self, server):
        headers = {"Host": "pictures.test:81"}
        body = server.post("/v1/invoke", event(id="a"), headers=headers).json()
        assert body["outputs"][0]["url"] == "http://pictures.test:81/v1/results/a/0.png"

    def test_inline_delivery_has_no_address(self, server):
        body = server.post("/v1/invoke", event(output={"delivery": "base64"})).json()
        assert body["outputs"][0]["url"] is None

    def test_nothing_outside_the_folder_is_handed_out(self, server):
        folder: Path = server.service.settings.results_dir
        server.post("/v1/invoke", event(id="a"))
        (folder.parent / "secret.txt").write_text("secret")
        (folder / ".hidden").write_text("secret")
        (folder / "link").symlink_to(folder.parent)
        for path in (
            "..%2Fsecret.txt",
            "a/..%2F..%2Fsecret.txt",
            "%2Fetc%2Fpasswd",
            "link/secret.txt",
            ".hidden",
            "a",
            "",
            "a%00",
            "x" * 5000,
        ):
            error_of(server.get(f"/v1/results/{path}"), 404, "not_found")

    @pytest.mark.fault(
        "Kept results are asked for over HTTP",
        "they are not handed out",
    )
    def test_results_that_are_kept_for_their_job_are_not_handed_out(self, server):
        settings = server.service.settings
        file = EncodedFile("9", b"secret", "image/png", "png", None, None)
        request = SimpleNamespace(
            job_id="a", output=SimpleNamespace(prefix=""), fingerprint="f" * 64, seed=None
        )
        [path] = open_kept_results(settings).keep(request, {"secret/0.png": file})
        kept = Path(path)
        assert kept.is_relative_to(settings.results_dir)
        for file in kept.parent.iterdir():
            path = f"/v1/results/{file.relative_to(settings.results_dir)}"
            error_of(server.get(path), 404, "not_found")
        body = server.post("/v1/invoke", event(id="mine", output={"prefix": "unsent"})).json()
        assert server.get(body["outputs"][0]["url"]).status_code == 200

    def test_what_a_browser_could_run_is_downloaded(self, server):
        folder: Path = server.service.settings.results_dir
        folder.mkdir(exist_ok=True)
        for name in ("page.html", "drawing.svg", "text.txt"):
            (folder / name).write_bytes(named_file(FileOutput("9", name, b"<script>")).data)
            response = server.get(f"/v1/results/{name}")
            assert response.headers["content-disposition"] == "attachment"
            assert response.headers["x-content-type-options"] == "nosniff"


ORIGIN = "https://app.test"
ASKED = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}


class TestOtherOrigins:
    def test_are_not_let_in_by_default(self, server):
        response = server.client.options("/v1/invoke", headers=ASKED)
        assert "access-control-allow-origin" not in response.headers

    def test_are_let_in_by_a_setting(self, make_server):
        server = make_server(cors_origins=frozenset({ORIGIN}), api_token=SecretStr(TOKEN))
        headers = {**ASKED, "Access-Control-Request-Headers": "authorization,content-type"}
        asked = server.client.options("/v1/invoke", headers=headers)
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] == ORIGIN
        refused = server.client.options(
            "/v1/invoke", headers={**headers, "Origin": "https://b.test"}
        )
        assert refused.status_code == 400
