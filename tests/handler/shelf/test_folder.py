"""Results in a local folder."""

import os
import urllib.request

import pytest

from handler.contract.errors import StorageError
from handler.contract.event import Output
from handler.job.encode import EncodedFile
from handler.shelf import LocalStorage, result_key


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_result_is_read_back_from_its_url(tmp_path, photo):
    stored = LocalStorage(tmp_path / "results").store(
        photo, result_key("job ä", 0, "png", "me"), Output()
    )
    assert stored.key == "me/job%20%C3%A4/0.png"
    with urllib.request.urlopen(stored.url) as response:
        assert response.read() == photo.data


def test_a_relative_folder_gives_a_whole_url(tmp_path, photo, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stored = LocalStorage(tmp_path.relative_to(tmp_path) / "out").store(photo, "j/0.png", Output())
    assert stored.url == (tmp_path / "out/j/0.png").as_uri()


def test_a_repeated_job_replaces_its_result_and_leaves_nothing_else(tmp_path, photo):
    storage = LocalStorage(tmp_path)
    storage.store(photo, "job/0.png", Output())
    storage.store(EncodedFile(b"other", "image/png", "png", 1, 1), "job/0.png", Output())
    assert files(tmp_path) == ["job/0.png"]
    assert (tmp_path / "job/0.png").read_bytes() == b"other"


def test_a_reader_sees_the_old_result_or_the_new_one_and_no_other(tmp_path, photo, monkeypatch):
    storage = LocalStorage(tmp_path)
    storage.store(photo, "job/0.png", Output())

    def no_space(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(StorageError, match=r"No space left.*RESULTS_DIR"):
        storage.store(EncodedFile(b"other", "image/png", "png", 1, 1), "job/0.png", Output())
    assert files(tmp_path) == ["job/0.png"]
    assert (tmp_path / "job/0.png").read_bytes() == photo.data


@pytest.mark.parametrize("key", ["../0.png", "a/../../0.png", "/tmp/0.png", "link/0.png"])
def test_nothing_is_written_outside_the_folder(tmp_path, photo, key):
    outside = tmp_path / "outside"
    outside.mkdir()
    results = tmp_path / "results"
    results.mkdir()
    (results / "link").symlink_to(outside)
    with pytest.raises(StorageError, match="RESULTS_DIR"):
        LocalStorage(results).store(photo, key, Output())
    assert files(tmp_path) == []


def test_a_check_makes_the_folder_and_leaves_it_empty(tmp_path):
    LocalStorage(tmp_path / "new").check()
    assert files(tmp_path / "new") == []


def test_a_check_says_that_the_folder_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="RESULTS_DIR"):
        LocalStorage(tmp_path / "file").check()


def test_a_stored_file_is_read_and_located_by_its_content(tmp_path, photo):
    storage = LocalStorage(tmp_path)
    stored = storage.store(photo, "job/0.png", Output())
    assert storage.read("job/0.png") == photo.data
    assert storage.locate("job/0.png", photo.sha256, Output()) == stored
    assert storage.locate("job/0.png", "0" * 64, Output()) is None


def test_a_file_that_is_not_there_is_none(tmp_path):
    storage = LocalStorage(tmp_path)
    assert storage.read("job/0.png") is None
    assert storage.locate("job/0.png", "0" * 64, Output()) is None
