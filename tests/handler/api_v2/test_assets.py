"""Uploads, and the bytes of assets."""

from __future__ import annotations

import tracemalloc

import blake3
import pytest
from api_v2_support.graphs import picture
from platforms_support.http_server import wait_until

UNKNOWN = "9f8a1c0d-2b3e-4f56-8a7b-1c2d3e4f5a6b"


def code_of(response) -> str:
    return response.json()["error"]["code"]


def hash_of(data: bytes) -> str:
    return f"blake3:{blake3.blake3(data).hexdigest()}"


def test_upload_is_found_by_its_hash(api_server):
    data = picture()
    assert api_server.client.head(f"/api/v2/assets/by-hash/{hash_of(data)}").status_code == 404
    first = api_server.upload(data)
    assert first.status_code == 201
    asset = first.json()
    assert (asset["hash"], asset["size_bytes"]) == (hash_of(data), len(data))
    assert asset["created_new"] is True
    second = api_server.upload(data)
    assert (second.status_code, second.json()["created_new"]) == (200, False)
    assert api_server.client.head(f"/api/v2/assets/by-hash/{hash_of(data)}").status_code == 200


def test_asset_is_made_of_a_hash(api_server):
    data = picture()
    api_server.upload(data)
    body = {"hash": hash_of(data), "file_path": "other.png", "expires_in": 600}
    made = api_server.post("/api/v2/assets/from-hash", body)
    assert made.status_code == 201
    assert api_server.post("/api/v2/assets/from-hash", body).status_code == 200
    assert api_server.get(made.json()["url"]).content == data
    missing = api_server.post("/api/v2/assets/from-hash", {"hash": hash_of(b"other")})
    assert (missing.status_code, code_of(missing)) == (404, "blob_not_found")


def test_content_has_ranges(api_server):
    data = picture()
    path = f"/api/v2/assets/{api_server.upload(data).json()['id']}/content"
    whole = api_server.get(path)
    assert whole.content == data
    assert whole.headers["content-type"] == "image/png"
    part = api_server.get(path, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, data[10:20])
    beyond = api_server.get(path, headers={"Range": f"bytes={len(data)}-"})
    assert beyond.status_code == 416


def test_upload_that_a_browser_could_run_is_downloaded(api_server):
    page = api_server.upload(b"<script>", "page.html", content_type="text/html")
    content = api_server.get(page.json()["url"])
    assert content.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in content.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"expected_hash": "blake3:" + "0" * 64}, 409, "hash_mismatch"),
        ({"expires_in": "5"}, 422, "invalid_request"),
        ({"file_path": "a\nb"}, 422, "invalid_request"),
    ],
)
def test_upload_that_is_refused(api_server, fields, status, code):
    response = api_server.upload(picture(), **{"file_path": "a.png", **fields})
    assert (response.status_code, code_of(response)) == (status, code)


def test_upload_that_is_no_form(api_server):
    response = api_server.client.post("/api/v2/assets", content=b"x")
    assert code_of(response) == "invalid_request"


def test_upload_that_is_too_large(make_api_server):
    server = make_api_server(asset_max_bytes=1000)
    response = server.upload(bytes(2000))
    assert (response.status_code, code_of(response)) == (413, "request_too_large")


def test_upload_has_a_key_of_its_own(api_server):
    headers = {"Idempotency-Key": "upload-1"}
    files = {"file": ("a.png", picture(), "image/png")}
    form = {"content_type": "image/png", "file_path": "a.png"}
    first = api_server.client.post("/api/v2/assets", data=form, files=files, headers=headers)
    assert first.status_code == 201
    again = api_server.client.post("/api/v2/assets", data=form, files=files, headers=headers)
    assert (again.status_code, code_of(again)) == (422, "idempotency_key_reuse")


def test_upload_is_not_held_in_memory(api_server, tmp_path):
    size = 64 * 1024 * 1024
    large = tmp_path / "large.bin"
    with large.open("wb") as file:
        file.truncate(size)
    form = {"content_type": "application/octet-stream", "file_path": "large.bin"}
    tracemalloc.start()
    try:
        with large.open("rb") as file:
            files = {"file": ("large.bin", file, "application/octet-stream")}
            response = api_server.client.post("/api/v2/assets", data=form, files=files)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert response.json()["size_bytes"] == size
    assert peak < size / 2


def test_asset_that_does_not_exist(api_server):
    for asset_id in (UNKNOWN, "nothing", "..%2f..%2fetc"):
        assert code_of(api_server.get(f"/api/v2/assets/{asset_id}")) == "not_found"
        assert code_of(api_server.get(f"/api/v2/assets/{asset_id}/content")) == "not_found"


def test_many_uploads_at_once_are_refused(api_server, monkeypatch):
    monkeypatch.setattr("handler.api_v2.state._MOST_UPLOADS", 0)
    response = api_server.upload(picture())
    assert (response.status_code, code_of(response)) == (429, "queue_full")


def test_many_bytes_are_swept_soon(make_api_server):
    server = make_api_server(assets_max_bytes=3000)
    first = server.upload(bytes(2000), "a.bin").json()
    server.upload(bytes([1]) * 2000, "b.bin")
    wait_until(lambda: server.get(f"/api/v2/assets/{first['id']}").status_code == 404)
