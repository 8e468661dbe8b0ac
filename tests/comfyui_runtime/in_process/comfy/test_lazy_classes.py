from __future__ import annotations

import functools
import threading
import time

import pytest

from comfyui_runtime.in_process.comfy.lazy_classes import LazyNodeClasses

FILES = {"A": "one.py", "B": "one.py", "C": "two.py", "Broken": "broken.py"}


class Files:
    """Node files; ``loaded`` says which were loaded, in which order."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.classes = LazyNodeClasses({"Core": "core"})
        for file in dict.fromkeys(FILES.values()):
            names = [name for name, its_file in FILES.items() if its_file == file]
            self.classes.offer(file, names, functools.partial(self.load, file))

    def load(self, file: str) -> str | None:
        time.sleep(0.01)
        self.loaded.append(file)
        if file == "broken.py":
            return "torchaudio is missing"
        present = self.classes.loaded_names()
        for name, its_file in FILES.items():
            if its_file == file and name not in present:
                self.classes[name] = f"class {name}"
        return None


@pytest.fixture
def files() -> Files:
    return Files()


def test_nothing_is_loaded_until_it_is_asked_for(files):
    assert files.classes.known_names() == {"Core", "A", "B", "C", "Broken"}
    assert files.classes.loaded_names() == {"Core"}
    assert files.classes["Core"] == "core"
    assert files.loaded == []


@pytest.mark.parametrize(
    "ask",
    [
        lambda classes: classes["A"],
        lambda classes: classes.get("A"),
        lambda classes: "A" in classes,
        lambda classes: classes.setdefault("A", "another"),
        lambda classes: classes.pop("A"),
        lambda classes: classes.__delitem__("A"),
    ],
    ids=["item", "get", "in", "setdefault", "pop", "del"],
)
def test_asking_for_a_class_loads_its_file_alone(files, ask):
    ask(files.classes)
    assert files.loaded == ["one.py"]
    assert files.classes["B"] == "class B"
    assert files.loaded == ["one.py"]


@pytest.mark.parametrize(
    "ask",
    [
        list,
        dict,
        lambda classes: {**classes},
        lambda classes: classes.copy(),
        lambda classes: dict(classes.items()),
        lambda classes: set(classes.keys()),
        lambda classes: (
            {"Core", "A", "B", "C"} if len(list(classes.values())) == len(classes) else {}
        ),
    ],
    ids=["list", "dict", "unpacked", "copy", "items", "keys", "values"],
)
def test_asking_for_all_loads_every_file_once(files, ask):
    assert set(ask(files.classes)) == {"Core", "A", "B", "C"}
    assert files.loaded == ["one.py", "two.py", "broken.py"]


def test_file_that_does_not_load_is_tried_once_and_says_why(files):
    for _ in range(2):
        assert "Broken" not in files.classes
        with pytest.raises(KeyError):
            files.classes["Broken"]
    assert files.loaded == ["broken.py"]
    assert files.classes.failure("Broken") == "torchaudio is missing"
    assert files.classes.failure("A") is None


def test_class_that_no_file_defines_is_missing(files):
    assert "Z" not in files.classes
    assert files.classes.get("Z", "default") == "default"
    with pytest.raises(KeyError):
        files.classes["Z"]
    assert files.loaded == []


def test_class_that_someone_else_put_there_stays(files):
    files.classes["A"] = "a node pack's"
    assert files.classes["A"] == "a node pack's"
    assert files.loaded == []
    assert files.classes["B"] == "class B"
    assert files.classes["A"] == "a node pack's"


def test_class_that_was_taken_out_does_not_come_back(files):
    del files.classes["A"]
    assert "A" not in files.classes
    assert "A" not in list(files.classes)


def test_threads_that_ask_at_once_load_a_file_once_and_all_get_the_class(files):
    seen = []
    barrier = threading.Barrier(6)

    def ask():
        barrier.wait()
        seen.append(files.classes["A"])

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert seen == ["class A"] * 6
    assert files.loaded == ["one.py"]


def defining(classes: LazyNodeClasses, source: str, *names: str):
    def load() -> None:
        for name in names:
            classes[name] = f"{name} of {source}"

    return load


@pytest.mark.parametrize("first", ["One", "Two"])
def test_of_two_sources_that_define_a_class_the_last_one_offered_wins(first):
    classes = LazyNodeClasses({})
    classes.offer("early", ["One", "Both"], defining(classes, "early", "One", "Both"))
    classes.offer("late", ["Two", "Both"], defining(classes, "late", "Two", "Both"))
    assert classes[first]
    assert classes["Both"] == "Both of late"
    assert dict(classes.items()) == {
        "One": "One of early",
        "Two": "Two of late",
        "Both": "Both of late",
    }


def test_class_set_after_a_source_was_offered_stays():
    classes = LazyNodeClasses({})
    classes.offer("early", ["One", "Both"], defining(classes, "early", "One", "Both"))
    classes["Both"] = "loaded at start"
    assert classes["One"] == "One of early"
    assert classes["Both"] == "loaded at start"


def test_source_offered_later_replaces_a_class_that_is_loaded():
    classes = LazyNodeClasses({"Both": "loaded at start"})
    classes.offer("late", ["Both"], defining(classes, "late", "Both"))
    assert classes["Both"] == "Both of late"


def test_where_the_last_source_fails_the_one_before_it_wins():
    classes = LazyNodeClasses({"Core": "core"})
    classes.offer("early", ["Both"], defining(classes, "early", "Both"))
    classes.offer("broken", ["Both", "Core"], lambda: "it does not import")
    assert classes["Both"] == "Both of early"
    assert classes["Core"] == "core"
