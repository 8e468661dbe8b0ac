from __future__ import annotations

import contextlib
import importlib
import sys
import threading
from types import ModuleType

import pytest

from comfyui_runtime.in_process.comfy.lazy_imports import LazyImports, is_pending


@pytest.fixture
def importing(tmp_path, monkeypatch):
    """Writes modules into a folder that imports look in, and makes some of them lazy."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    before = set(sys.modules)

    def prepare(files: dict[str, str], *lazy: str, **options: object) -> None:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        importlib.invalidate_caches()
        LazyImports(lazy, **options).install()

    yield prepare
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_module_is_executed_at_its_first_use_and_is_an_ordinary_module_then(importing):
    importing({"lz_one.py": "answer = 42\n"}, "lz_one")
    module = importlib.import_module("lz_one")
    assert is_pending("lz_one")
    assert module.answer == 42
    assert not is_pending("lz_one")
    assert type(module) is ModuleType
    assert module.__loader__ is module.__spec__.loader
    assert module.__loader__.get_source("lz_one") == "answer = 42\n"


def test_import_of_a_name_executes_the_module(importing):
    importing({"lz_one.py": "answer = 42\n", "lz_user.py": "from lz_one import answer\n"}, "lz_one")
    assert importlib.import_module("lz_user").answer == 42


def test_module_that_is_not_named_is_executed_at_once(importing):
    importing({"lz_other.py": "answer = 42\n"}, "lz_one")
    assert importlib.import_module("lz_other").__dict__["answer"] == 42


def test_module_that_is_not_installed_fails_where_it_is_imported(importing):
    importing({}, "lz_nowhere")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("lz_nowhere")


def test_module_that_fails_does_so_at_every_use(importing, tmp_path):
    importing({"lz_one.py": "raise ValueError('broken')\n"}, "lz_one")
    module = importlib.import_module("lz_one")
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            module.answer  # noqa: B018
    (tmp_path / "lz_one.py").write_text("answer = 'mended now'\n")
    assert module.answer == "mended now"


PACKAGE = {
    "lz_pack/__init__.py": "from lz_pack import inner\nready = True\n",
    "lz_pack/inner.py": "import lz_pack\ncounted = []\n",
    "lz_pack/leaf.py": "import lz_pack\nsaw_ready = lz_pack.ready\n",
}


def test_naming_a_lazy_submodule_executes_neither_it_nor_its_package(importing):
    user = "import lz_pack.leaf as leaf\nfrom lz_pack import leaf as same\n"
    importing({**PACKAGE, "lz_user.py": user}, "lz_pack", "lz_pack.leaf")
    module = importlib.import_module("lz_user")
    assert module.leaf is module.same
    assert is_pending("lz_pack")
    assert is_pending("lz_pack.leaf")


def test_package_is_executed_before_its_lazy_submodule(importing):
    importing(PACKAGE, "lz_pack", "lz_pack.leaf")
    assert importlib.import_module("lz_pack.leaf").saw_ready
    assert not is_pending("lz_pack")


def test_importing_another_submodule_executes_the_package_first_and_the_submodule_once(importing):
    importing(PACKAGE, "lz_pack")
    importlib.import_module("lz_pack")
    inner = importlib.import_module("lz_pack.inner")
    package = importlib.import_module("lz_pack")
    assert not is_pending("lz_pack")
    assert package.inner is inner
    assert inner.__spec__.loader.get_source("lz_pack.inner") == PACKAGE["lz_pack/inner.py"]


def test_module_replaced_in_part_before_its_first_use_stays_replaced(importing):
    importing({"lz_one.py": "answer = 42\nother = 1\n"}, "lz_one")
    module = importlib.import_module("lz_one")
    module.answer = 7
    assert (module.answer, module.other) == (7, 1)


def test_names_of_a_module_are_those_it_has_when_executed(importing):
    importing({"lz_one.py": "answer = 42\n"}, "lz_one")
    assert "answer" in dir(importlib.import_module("lz_one"))


def test_modules_that_import_each_other_work_as_always(importing):
    importing(
        {
            "lz_one.py": "import lz_two\nanswer = 42\ndef double():\n    return lz_two.twice()\n",
            "lz_two.py": "import lz_one\ndef twice():\n    return lz_one.answer * 2\n",
        },
        "lz_one",
        "lz_two",
    )
    assert importlib.import_module("lz_one").double() == 84


def test_threads_that_use_a_module_at_once_execute_it_once_and_see_it_whole(importing):
    text = "import time\ncounter = []\ncounter.append(1)\ntime.sleep(0.1)\nlast = len(counter)\n"
    importing({"lz_one.py": text}, "lz_one")
    module = importlib.import_module("lz_one")
    seen = []
    barrier = threading.Barrier(8)

    def use():
        barrier.wait()
        seen.append((module.counter, module.last))

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert seen == [([1], 1)] * 8


def test_module_is_executed_in_the_context_given_and_followed_by_its_hook(importing):
    happened = []

    @contextlib.contextmanager
    def around():
        happened.append("before")
        yield
        happened.append("after")

    importing(
        {"lz_one.py": "answer = 42\n"},
        "lz_one",
        around=around,
        after={"lz_one": lambda: happened.append(importlib.import_module("lz_one").answer)},
    )
    module = importlib.import_module("lz_one")
    assert happened == []
    assert module.answer == 42
    assert happened == ["before", "after", 42]
