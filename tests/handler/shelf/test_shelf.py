"""What a folder and a bucket have in common."""

import threading
from collections import Counter

import pytest

from handler.contract.errors import StorageError
from handler.shelf import BucketShelf, FolderShelf

from .conftest import sha256


@pytest.fixture(params=["folder", "bucket"])
def shelf(request, tmp_path):
    if request.param == "folder":
        return FolderShelf(tmp_path / "shelf")
    return BucketShelf(
        request.getfixturevalue("s3"), request.getfixturevalue("bucket"), prefix="some/where"
    )


def keys(shelf, prefix=""):
    return [entry.key for entry in shelf.list(prefix)]


def test_what_was_put_is_got_and_replaced_as_a_whole(shelf):
    assert shelf.get("a/b") is None
    shelf.put("a/b", b"one")
    assert shelf.get("a/b") == b"one"
    shelf.put("a/b", b"two")
    assert shelf.get("a/b") == b"two"
    assert shelf.has("a/b", sha256(b"two"))
    assert not shelf.has("a/b", sha256(b"one"))


def test_what_is_there_is_not_created_again(shelf):
    assert shelf.create("a/b", b"one")
    assert not shelf.create("a/b", b"two")
    assert shelf.get("a/b") == b"one"
    shelf.delete("a/b")
    assert shelf.create("a/b", b"three")


def test_of_many_that_create_at_once_one_does(tmp_path):
    # Not on moto: it looks whether the key is there, then writes, with nothing to keep others out.
    shelf = FolderShelf(tmp_path)
    created: Counter[int] = Counter()

    def create(worker: int) -> None:
        for number in range(20):
            if shelf.create(f"jobs/{number}", str(worker).encode()):
                created[number] += 1

    threads = [threading.Thread(target=create, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert created == dict.fromkeys(range(20), 1)


def test_keys_are_listed_by_what_they_begin_with(shelf):
    assert keys(shelf) == []
    for key in ("b", "a/2", "a/10", "ab/1"):
        shelf.put(key, key.encode())
    assert keys(shelf) == ["a/10", "a/2", "ab/1", "b"]
    assert keys(shelf, "a/") == ["a/10", "a/2"]
    assert keys(shelf, "a/1") == ["a/10"]
    assert keys(shelf, "nothing/here") == []


def test_a_listing_tells_size_and_change(shelf):
    shelf.put("a", b"one")
    [before] = shelf.list()
    [again] = shelf.list()
    shelf.put("a", b"other")
    [after] = shelf.list()
    assert (before.size, after.size) == (3, 5)
    assert before.version == again.version != after.version
    assert after.written_at >= before.written_at > 1e9


def test_what_was_deleted_is_gone_and_may_be_deleted_again(shelf):
    shelf.put("a/b/c", b"one")
    shelf.put("a/d", b"two")
    shelf.delete("a/b/c")
    shelf.delete("a/b/c")
    assert keys(shelf) == ["a/d"]


def test_writers_and_removers_do_not_trip_over_each_others_folders(tmp_path):
    shelf = FolderShelf(tmp_path)
    failures = []

    def work(name: str) -> None:
        try:
            for _ in range(200):
                shelf.put(f"a/b/{name}", b"")
                shelf.delete(f"a/b/{name}")
        except StorageError as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_used_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("in the way")
    shelf = FolderShelf(tmp_path / "file", "choose another place for --results")
    for use in (lambda: shelf.create("a", b""), lambda: shelf.put("a", b"")):
        with pytest.raises(StorageError, match="--results"):
            use()


def test_size_and_time_of_a_key_are_those_of_its_entry(shelf):
    assert shelf.stat("a/b") is None
    shelf.put("a/b", b"four")
    [entry] = shelf.list()
    found = shelf.stat("a/b")
    assert (found.key, found.size, found.version) == ("a/b", 4, entry.version)


def test_listing_goes_on_after_a_key(shelf):
    for key in ("a/1", "a/2", "a/3", "b"):
        shelf.put(key, b"x")
    assert [entry.key for entry in shelf.list("a/", after="a/1")] == ["a/2", "a/3"]
    assert [entry.key for entry in shelf.list("a/", after="a/15")] == ["a/2", "a/3"]


def test_bytes_are_copied_to_a_file(shelf, tmp_path):
    shelf.put("a/b", b"bytes")
    with (tmp_path / "copy").open("w+b") as sink:
        assert shelf.copy("a/b", sink)
        assert not shelf.copy("a/c", sink)
        sink.seek(0)
        assert sink.read() == b"bytes"
