"""Results that could not be uploaded are not lost."""

import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from places import PROJECT

from handler.contract.errors import StorageError
from handler.job import kept
from handler.job.encode import EncodedFile
from handler.job.kept import KeptResults, open_kept_results
from handler.settings import Settings

KEY = "customer/job/0.png"


def result(data=b"\x89PNG not really", extension="png"):
    return EncodedFile("9", data, "image/png", extension, 64, 48)


def job(job_id="job", fingerprint="f" * 64):
    output = SimpleNamespace(prefix="customer")
    return SimpleNamespace(job_id=job_id, output=output, fingerprint=fingerprint, seed=7)


def keep(store, file, job_id="job"):
    """Keep one file; return its path."""
    [path] = store.keep(job(job_id), {KEY: file})
    return Path(path)


def taken(store, job_id="job"):
    found = store.take(job(job_id))
    return found and found.files[KEY]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "kept"


@pytest.fixture
def store(folder):
    return KeptResults(folder, max_bytes=10_000_000)


def test_what_was_kept_is_taken_as_it_was(store):
    files = {
        KEY: result(),
        "k/1.json": EncodedFile("4", b"{}", "application/json", "json", None, None),
    }
    paths = [Path(path) for path in store.keep(job(), files)]
    assert [path.read_bytes() for path in paths] == [file.data for file in files.values()]
    for _ in range(2):
        found = store.take(job())
        assert (found.seed, found.files) == (7, files)


def test_nothing_is_taken_for_another_job_or_another_request(store):
    keep(store, result())
    assert store.take(job("other")) is None
    assert store.take(job(fingerprint="e" * 64)) is None


def test_forgetting_leaves_nothing_behind(store, folder):
    keep(store, result())
    store.forget(job())
    store.forget(job())
    assert store.take(job()) is None
    assert list(folder.iterdir()) == []


def test_nothing_is_made_on_disk_before_something_is_kept(store, tmp_path):
    assert store.take(job()) is None
    store.forget(job())
    assert list(tmp_path.iterdir()) == []


def test_a_later_result_of_the_same_job_replaces_the_earlier(store, folder):
    keep(store, result(b"one"))
    keep(store, result(b"two", "jpg"))
    assert taken(store) == result(b"two", "jpg")
    assert len(list(folder.iterdir())) == 2


def test_it_survives_the_process_that_kept_it(folder):
    script = (
        "import os, sys; from pathlib import Path; from types import SimpleNamespace as N;"
        "from handler.job.encode import EncodedFile; from handler.job.kept import KeptResults;"
        "job = N(job_id='job', output=N(prefix='customer'), fingerprint='f' * 64, seed=7);"
        "KeptResults(Path(sys.argv[1]), 10**6).keep(job, {sys.argv[2]:"
        " EncodedFile('9', b'\\x89PNG not really', 'image/png', 'png', 64, 48)});"
        "os.kill(os.getpid(), 9)"
    )
    died = subprocess.run(
        [sys.executable, "-c", script, str(folder), KEY], cwd=PROJECT, check=False, timeout=30
    )
    assert died.returncode == -9
    assert taken(KeptResults(folder, 10**6)) == result()


def test_a_process_that_dies_before_the_record_costs_the_newer_result_only(store, monkeypatch):
    keep(store, result())
    put = store._shelf.put

    def die_at_the_record(name, data):
        if name.endswith(".json"):
            raise KeyboardInterrupt
        put(name, data)

    monkeypatch.setattr(store._shelf, "put", die_at_the_record)
    with pytest.raises(KeyboardInterrupt):
        keep(store, result(b"newer"))
    assert taken(store) == result()


@pytest.mark.parametrize("damaged", ["*.png", "*.json"])
def test_a_damaged_result_is_not_handed_out(store, folder, damaged, caplog):
    keep(store, result())
    [path] = folder.glob(damaged)
    path.write_bytes(b"x")
    with caplog.at_level(logging.WARNING):
        assert store.take(job()) is None
    assert [entry.message for entry in caplog.records] == ["kept_result_damaged"]


def age(path, seconds):
    """Make what is kept of a file's job older."""
    for other in path.parent.glob(f"{path.name[:64]}*"):
        written = other.stat().st_mtime - seconds
        os.utime(other, (written, written))


def test_over_the_cap_the_oldest_go_first(folder, caplog):
    store = KeptResults(folder, max_bytes=3000)
    age(keep(store, result(b"o" * 800), "old"), 30)
    age(keep(store, result(b"p" * 800), "older"), 60)
    with caplog.at_level(logging.WARNING):
        keep(store, result(b"n" * 800), "new")
    assert taken(store, "older") is None
    assert taken(store, "old") == result(b"o" * 800)
    assert taken(store, "new") == result(b"n" * 800)
    [dropped] = caplog.records
    assert dropped.message == "kept_result_dropped"
    assert dropped.bytes > 800


def test_the_latest_result_stays_even_if_it_alone_is_over_the_cap(folder):
    store = KeptResults(folder, max_bytes=10)
    keep(store, result(b"1" * 50), "first")
    keep(store, result(b"2" * 50), "second")
    assert taken(store, "first") is None
    assert taken(store, "second") == result(b"2" * 50)


def test_leftovers_of_the_dead_go_and_other_peoples_files_are_not_touched(folder):
    folder.mkdir()
    (folder / "notes.txt").write_bytes(b"n" * 5000)
    half = folder / f".{'0' * 32}.partial"
    without_record = folder / f"{'1' * 64}-{'2' * 16}.png"
    for path in (half, without_record):
        path.write_bytes(b"l" * 5000)
        os.utime(path, (1, 1))
    keep(KeptResults(folder, max_bytes=3000), result(b"x"))
    assert not half.exists()
    assert not without_record.exists()
    assert (folder / "notes.txt").exists()


def test_a_folder_that_cannot_be_written_names_the_setting(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="KEPT_RESULTS_DIR"):
        keep(KeptResults(tmp_path / "file", 10**6), result())


def test_the_folder_is_the_settings_else_the_volumes_else_below_the_results(tmp_path, monkeypatch):
    volume = tmp_path / "volume"
    monkeypatch.setattr(kept, "_RUNPOD_VOLUME", volume)

    def folder_of(**fields):
        settings = Settings(_env_file=None, results_dir=tmp_path / "results", **fields)
        return keep(open_kept_results(settings), result()).parent

    assert folder_of() == tmp_path / "results/.unsent"
    volume.mkdir()
    assert folder_of() == volume / "unsent-results"
    assert folder_of(kept_results_dir=tmp_path / "mine") == tmp_path / "mine"
