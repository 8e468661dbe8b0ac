"""Results in a local folder."""

import os
import urllib.request
from pathlib import Path

import pytest

from handler.contract.errors import StorageError
from handler.contract.job_id import JobId
from handler.shelf import FolderShelf, result_key

from .conftest import sha256, store


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_result_is_read_back_from_its_url(tmp_path, photo):
    key = result_key(JobId("0.png"), 0, "png", "me")
    stored = store(FolderShelf(tmp_path / "results"), photo, key)
    assert stored.key == "me/0%2Epng/0.png"
    with urllib.request.urlopen(stored.url) as response:
        assert response.read() == photo


def test_a_relative_folder_gives_a_whole_url(tmp_path, photo, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stored = store(FolderShelf(tmp_path.relative_to(tmp_path) / "out"), photo, "j/0.png")
    assert stored.url == (tmp_path / "out/j/0.png").as_uri()


def test_a_repeated_job_replaces_its_result_and_leaves_nothing_else(tmp_path, photo):
    storage = FolderShelf(tmp_path)
    store(storage, photo, "job/0.png")
    store(storage, b"other", "job/0.png")
    assert files(tmp_path) == ["job/0.png"]
    assert (tmp_path / "job/0.png").read_bytes() == b"other"


def test_a_reader_sees_the_old_result_or_the_new_one_and_no_other(tmp_path, photo, monkeypatch):
    storage = FolderShelf(tmp_path)
    store(storage, photo, "job/0.png")

    def no_space(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(StorageError, match=r"No space left.*RESULTS_DIR"):
        store(storage, b"other", "job/0.png")
    assert files(tmp_path) == ["job/0.png"]
    assert (tmp_path / "job/0.png").read_bytes() == photo


@pytest.mark.parametrize("key", ["../0.png", "a/../../0.png", "/tmp/0.png", "link/0.png"])
def test_nothing_is_written_outside_the_folder(tmp_path, photo, key):
    outside = tmp_path / "outside"
    outside.mkdir()
    results = tmp_path / "results"
    results.mkdir()
    (results / "link").symlink_to(outside)
    with pytest.raises(StorageError, match="RESULTS_DIR"):
        store(FolderShelf(results), photo, key)
    assert files(tmp_path) == []


def test_a_check_makes_the_folder_and_leaves_it_empty(tmp_path):
    FolderShelf(tmp_path / "new").check()
    assert files(tmp_path / "new") == []


def test_a_check_says_that_the_folder_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="RESULTS_DIR"):
        FolderShelf(tmp_path / "file").check()


def test_a_stored_file_is_read_and_known_by_its_content(tmp_path, photo):
    storage = FolderShelf(tmp_path)
    store(storage, photo, "job/0.png")
    assert storage.get("job/0.png") == photo
    assert storage.has("job/0.png", sha256(photo))
    assert not storage.has("job/0.png", "0" * 64)


def test_a_file_that_is_not_there_is_none(tmp_path):
    storage = FolderShelf(tmp_path)
    assert storage.get("job/0.png") is None
    assert not storage.has("job/0.png", "0" * 64)


def test_a_file_is_stored_as_bytes_are(tmp_path, photo):
    (tmp_path / "file").write_bytes(photo)
    with (tmp_path / "file").open("rb") as file:
        FolderShelf(tmp_path / "results").put("job/0.png", file)
    assert (tmp_path / "results/job/0.png").read_bytes() == photo


def test_what_a_dead_process_left_half_written_is_not_listed_and_goes_in_time(tmp_path, photo):
    shelf = FolderShelf(tmp_path)
    shelf.put("job/0.png", photo)
    old, new = (tmp_path / "job" / f".{letter * 32}.partial" for letter in "ab")
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    assert [entry.key for entry in shelf.list()] == ["job/0.png"]
    assert (old.exists(), new.exists()) == (False, True)


def test_a_folder_may_be_named_by_way_of_its_parent(tmp_path, photo, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    shelf = FolderShelf(Path("../there"))
    shelf.put("job/0.png", photo)
    assert (tmp_path / "there/job/0.png").read_bytes() == photo
    assert [entry.key for entry in shelf.list()] == ["job/0.png"]
    shelf.delete("job/0.png")
    assert list((tmp_path / "there").iterdir()) == []
