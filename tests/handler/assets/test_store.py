from __future__ import annotations

import io
import time

import pytest

from handler.assets import AssetStore, Wish, sweep_assets
from handler.assets.keys import blob_key
from handler.contract.errors import BlobNotFoundError, HashMismatchError, NotFoundError
from handler.shelf import FolderShelf

WEEK = 604_800


@pytest.fixture
def shelf(tmp_path):
    return FolderShelf(tmp_path)


@pytest.fixture
def store(shelf):
    return AssetStore(shelf)


def add(store, data=b"bytes", file_path="a.png", **more):
    return store.add(io.BytesIO(data), Wish(file_path, **more))


def copied(store, asset):
    sink = io.BytesIO()
    return sink.getvalue() if store.copy(asset, sink) and not sink.seek(0) else None


def test_bytes_are_kept_once(store):
    first, is_new = add(store)
    second, again = add(store, file_path="b.png")
    assert (is_new, again) == (True, False)
    assert first.key == second.key
    assert copied(store, first) == b"bytes"
    assert first.content_type == "image/png"


def test_last_asset_takes_its_bytes_with_it(store, shelf):
    first, _ = add(store)
    second, _ = add(store)
    store.delete(first.id)
    assert copied(store, second) == b"bytes"
    store.delete(second.id)
    assert list(shelf.list()) == []


def test_name_is_that_of_the_last_upload(store):
    add(store)
    second, _ = add(store, b"others")
    assert store.find_by_name("a.png") == second
    assert store.find_by_name("b.png") is None
    store.delete(second.id)
    assert store.find_by_name("a.png") is None


def test_hash_that_is_declared_is_verified(store, shelf):
    with pytest.raises(HashMismatchError):
        store.add(io.BytesIO(b"bytes"), Wish("a.png"), "blake3:" + "0" * 64)
    assert list(shelf.list()) == []


def test_asset_of_known_bytes(store):
    first, _ = add(store, expires_in=60)
    same, is_new = store.add_known(first.hash, Wish("a.png", expires_in=WEEK))
    assert (same.id, is_new) == (first.id, False)
    assert same.expires_at > first.expires_at
    other, is_new = store.add_known(first.hash, Wish("b.png"))
    assert is_new
    assert other.size_bytes == 5
    for unknown in ("blake3:" + "0" * 64, "../../etc/passwd", "sha256:" + "0" * 64):
        with pytest.raises(BlobNotFoundError):
            store.add_known(unknown, Wish("c.png"))


def test_expired_asset_is_gone_before_it_is_swept(store, shelf):
    asset, _ = add(store, expires_in=-1)
    with pytest.raises(NotFoundError):
        store.get(asset.id)
    assert sweep_assets(shelf, store, 1000) == 1
    assert list(shelf.list()) == []


def test_oldest_go_where_all_are_too_large(store, shelf):
    assets = []
    for number in range(4):
        assets.append(add(store, bytes([number]) * 100, f"{number}.png")[0])
        time.sleep(0.002)
    assert sweep_assets(shelf, store, 250) == 2
    assert [store.find(asset.id) is not None for asset in assets] == [False, False, True, True]
    assert shelf.get(blob_key(assets[3].hash.removeprefix("blake3:"))) is not None


def test_ids_that_are_none_lead_nowhere(store):
    for text in ("", "../x", "A" * 36, "9f8a1c0d-2b3e-4f56-8a7b-1c2d3e4f5a6b"):
        assert store.find(text) is None
