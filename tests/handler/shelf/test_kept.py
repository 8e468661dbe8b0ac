"""Results that could not be uploaded are not lost."""

import logging
import os
import subprocess
import sys

import pytest
from places import PROJECT

from handler.contract.errors import StorageError
from handler.job.encode import EncodedFile
from handler.shelf import KeptResults, kept, open_kept_results, result_key

KEY = result_key("job", 0, "png", "customer")


def result(data, extension="png"):
    return EncodedFile(data, "image/png", extension, 64, 48)


@pytest.fixture
def store(tmp_path):
    return KeptResults(tmp_path / "kept", max_bytes=10_000_000)


def test_what_was_kept_is_taken_as_it_was(store, photo):
    path = store.keep(KEY, photo)
    assert path.read_bytes() == photo.data
    assert store.take(KEY) == photo
    assert store.take(KEY) == photo


def test_a_file_without_dimensions_is_taken_as_it_was(store):
    text = EncodedFile(b"{}", "application/json", "json", None, None)
    store.keep(KEY, text)
    assert store.take(KEY) == text


def test_nothing_is_taken_for_another_job(store, photo):
    store.keep(KEY, photo)
    assert store.take(result_key("other", 0, "png", "customer")) is None


def test_forgetting_leaves_nothing_behind(store, photo, tmp_path):
    store.keep(KEY, photo)
    store.forget(KEY)
    store.forget(KEY)
    assert store.take(KEY) is None
    assert list((tmp_path / "kept").iterdir()) == []


def test_nothing_is_made_on_disk_before_something_is_kept(store, tmp_path):
    assert store.take(KEY) is None
    store.forget(KEY)
    assert list(tmp_path.iterdir()) == []


def test_a_later_result_of_the_same_job_replaces_the_earlier(store, tmp_path):
    store.keep(KEY, result(b"one"))
    store.keep(KEY, result(b"two", "jpg"))
    assert store.take(KEY) == result(b"two", "jpg")
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_it_survives_the_process_that_kept_it(tmp_path, photo):
    folder = tmp_path / "kept"
    script = (
        "import os, sys; from pathlib import Path;"
        "from handler.job.encode import EncodedFile; from handler.shelf import KeptResults;"
        "KeptResults(Path(sys.argv[1]), 10**6).keep(sys.argv[2],"
        " EncodedFile(b'\\x89PNG not really', 'image/png', 'png', 64, 48));"
        "os.kill(os.getpid(), 9)"
    )
    died = subprocess.run(
        [sys.executable, "-c", script, str(folder), KEY], cwd=PROJECT, check=False, timeout=30
    )
    assert died.returncode == -9
    assert KeptResults(folder, 10**6).take(KEY) == photo


def test_a_process_that_dies_between_the_two_files_costs_the_newer_result_only(
    store, monkeypatch, photo
):
    store.keep(KEY, photo)
    write = kept.write_atomically

    def die_at_the_record(path, data):
        if path.name.endswith(".record.json"):
            raise KeyboardInterrupt
        write(path, data)

    monkeypatch.setattr(kept, "write_atomically", die_at_the_record)
    with pytest.raises(KeyboardInterrupt):
        store.keep(KEY, result(b"newer"))
    assert store.take(KEY) == photo


@pytest.mark.parametrize("damaged", ["content", "record"])
def test_a_damaged_result_is_not_handed_out(store, photo, damaged, caplog, tmp_path):
    content = store.keep(KEY, photo)
    (record,) = (tmp_path / "kept").glob("*.record.json")
    (content if damaged == "content" else record).write_bytes(b"x")
    with caplog.at_level(logging.WARNING):
        assert store.take(KEY) is None
    assert [entry.message for entry in caplog.records] == ["kept_result_damaged"]


def age(folder, stem_of, seconds):
    """Make what is kept under a path's name older."""
    for path in folder.glob(f"{stem_of.name[:64]}*"):
        written = path.stat().st_mtime - seconds
        os.utime(path, (written, written))


def test_over_the_cap_the_oldest_go_first(tmp_path, caplog):
    folder = tmp_path / "kept"
    store = KeptResults(folder, max_bytes=2500)
    age(folder, store.keep("old", result(b"o" * 800)), 30)
    age(folder, store.keep("older", result(b"p" * 800)), 60)
    with caplog.at_level(logging.WARNING):
        store.keep("new", result(b"n" * 800))
    assert store.take("older") is None
    assert store.take("old") == result(b"o" * 800)
    assert store.take("new") == result(b"n" * 800)
    (dropped,) = caplog.records
    assert dropped.message == "kept_result_dropped"
    assert dropped.bytes > 800


def test_the_latest_result_stays_even_if_it_alone_is_over_the_cap(tmp_path):
    store = KeptResults(tmp_path, max_bytes=10)
    store.keep("first", result(b"1" * 50))
    store.keep("second", result(b"2" * 50))
    assert store.take("first") is None
    assert store.take("second") == result(b"2" * 50)


def test_leftovers_count_against_the_cap_and_other_peoples_files_are_not_touched(tmp_path):
    (tmp_path / "notes.txt").write_bytes(b"n" * 5000)
    leftover = tmp_path / ".0123.partial"
    leftover.write_bytes(b"l" * 5000)
    os.utime(leftover, (1, 1))
    KeptResults(tmp_path, max_bytes=3000).keep(KEY, result(b"x"))
    assert not leftover.exists()
    assert (tmp_path / "notes.txt").exists()


def test_a_folder_that_cannot_be_written_names_the_setting(tmp_path, photo):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="KEPT_RESULTS_DIR"):
        KeptResults(tmp_path / "file", 10**6).keep(KEY, photo)


def test_the_folder_is_the_settings_else_the_volumes_else_below_the_results(
    settings, tmp_path, monkeypatch, photo
):
    volume = tmp_path / "volume"
    monkeypatch.setattr(kept, "_RUNPOD_VOLUME", volume)

    def folder_of(made):
        return open_kept_results(made).keep(KEY, photo).parent

    assert folder_of(settings()) == tmp_path / "results/unsent"
    volume.mkdir()
    assert folder_of(settings()) == volume / "unsent-results"
    assert folder_of(settings(kept_results_dir=tmp_path / "mine")) == tmp_path / "mine"
