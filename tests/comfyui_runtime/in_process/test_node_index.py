"""The node index: made by an eager start, checked at the next one; each boots in its process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import PROJECT

from comfyui_runtime.in_process.comfy.node_index import (
    IndexedPack,
    NodeIndex,
    declared_classes,
    digest_of_comfyui,
    digest_of_environment,
    digest_of_pack,
    misfit,
    read_node_index,
    write_node_index,
)

CLASS = """
class {name}:
    RETURN_TYPES = ()
    FUNCTION = "go"
    @classmethod
    def INPUT_TYPES(cls):
        return {{"required": {{}}}}
"""
PACKS = {
    "a_plain": "NODE_CLASS_MAPPINGS = {'Plain': One, 'Both': One}\n",
    "b_later": "NODE_CLASS_MAPPINGS = {'Later': One, 'Both': One, 'LoadImage': One}\n",
    "c_handler": (
        "from server import PromptServer\n"
        "PromptServer.instance.add_on_prompt_handler(lambda data: data)\n"
        "NODE_CLASS_MAPPINGS = {'Handler': One}\n"
    ),
    "d_route": (
        "from server import PromptServer\n"
        "@PromptServer.instance.routes.get('/of_a_pack')\n"
        "async def answer(request): ...\n"
        "NODE_CLASS_MAPPINGS = {'Route': One}\n"
    ),
    "e_patch": (
        "import nodes\n"
        "load = nodes.LoadImage.load_image\n"
        "nodes.LoadImage.load_image = lambda self, image: load(self, image)\n"
        "NODE_CLASS_MAPPINGS = {'Patch': One}\n"
    ),
    "f_sampler": (
        "import comfy.samplers\n"
        "comfy.samplers.KSampler.SAMPLERS.append('of_a_pack')\n"
        "NODE_CLASS_MAPPINGS = {'Sampler': One}\n"
    ),
    "g_folder": (
        "import os, folder_paths\n"
        "folder_paths.add_model_folder_path('of_a_pack', '/nowhere')\n"
        "NODE_CLASS_MAPPINGS = {'Folder': One}\n"
    ),
    "h_broken": "import not_installed_anywhere\n",
    "i_torch": (
        "import torch\n"
        "load = torch.load\n"
        "torch.load = lambda *args, **kwargs: load(*args, **kwargs)\n"
        "NODE_CLASS_MAPPINGS = {'Torch': One}\n"
    ),
    "j_front_end": "WEB_DIRECTORY = 'web'\nNODE_CLASS_MAPPINGS = {}\n",
    "k_named": "NODE_CLASS_MAPPINGS = {'Named': One}\n",
}

BOOT = """
import importlib, json, sys, warnings
from pathlib import Path
from comfyui_runtime.in_process import comfy
from comfyui_runtime.in_process.boot import boot
from comfyui_runtime.in_process.options import BootOptions
warnings.simplefilter("ignore")
options = BootOptions(
    Path(sys.argv[1]), Path(sys.argv[2]), device="cpu", eager_packs=frozenset(sys.argv[3:])
)
runtime, report = boot(options)
base = str(options.base_dir / "custom_nodes")
def imported():
    return sorted(Path(name).name for name in sys.modules if name.startswith(base))
at_start = imported()
"""
ASK = (
    BOOT
    + """
table = comfy.node_classes()
of_file = table["Both"].RELATIVE_PYTHON_MODULE
asked_for_one = imported()
core = table["LoadImage"].__module__
routes = [route.path for route in importlib.import_module("server").PromptServer.instance.routes]
print(json.dumps({
    "at_start": at_start,
    "asked_for_one": asked_for_one,
    "both": of_file,
    "core": core,
    "routes": "/of_a_pack" in routes,
    "offered": sorted(runtime.node_classes()),
    "errors": [pack.name for pack in report.node_packs if pack.error],
    "all": sorted(dict(table.items())),
}))
"""
)


def install(base_dir: Path) -> None:
    for name, text in PACKS.items():
        folder = base_dir / "custom_nodes" / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(CLASS.format(name="One") + text)


def booted(comfyui_dir: Path, base_dir: Path, *eager_packs: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(comfyui_dir), str(base_dir), *eager_packs],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=PROJECT,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="module")
def base_dir(tmp_path_factory) -> Path:
    base = tmp_path_factory.mktemp("packs")
    install(base)
    return base


@pytest.fixture(scope="module")
def first(comfyui_dir, base_dir) -> dict:
    """A start without an index: eager, and it leaves one."""
    return booted(comfyui_dir, base_dir)


@pytest.fixture(scope="module")
def second(comfyui_dir, base_dir, first) -> dict:
    return booted(comfyui_dir, base_dir, "k_named")


@pytest.mark.slow
def test_start_without_an_index_is_eager_and_makes_one(first, base_dir):
    assert first["at_start"] == sorted(PACKS)
    assert read_node_index(base_dir) is not None


@pytest.mark.slow
def test_index_says_what_packs_do_beside_defining_classes(first, base_dir):
    packs = read_node_index(base_dir).packs
    assert {name for name, pack in packs.items() if pack.eager is None} == {
        "a_plain",
        "b_later",
        "d_route",
        "g_folder",
        "j_front_end",
        "k_named",
    }
    assert packs["c_handler"].eager == "changes server:on_prompt_handlers"
    assert "LoadImage.load_image" in packs["e_patch"].eager
    assert "KSampler.SAMPLERS" in packs["f_sampler"].eager
    assert packs["h_broken"].eager == "its import failed"
    assert "torch:load" in packs["i_torch"].eager
    assert [name for name, pack in packs.items() if pack.routes] == ["d_route"]


@pytest.mark.slow
def test_second_start_imports_only_packs_that_must_be_and_those_the_settings_name(second):
    needed = {"c_handler", "e_patch", "f_sampler", "h_broken", "i_torch"}
    assert set(second["at_start"]) == needed | {"k_named"}
    assert second["errors"] == ["h_broken"]


@pytest.mark.slow
def test_pack_is_imported_when_one_of_its_classes_is_asked_for(second):
    assert set(second["asked_for_one"]) - set(second["at_start"]) == {"b_later"}


@pytest.mark.slow
def test_both_starts_have_the_same_classes_of_the_same_packs(first, second):
    assert first["all"] == second["all"] == second["offered"]
    assert first["both"] == second["both"] == "custom_nodes.b_later"
    assert first["core"] == second["core"] == "nodes"


@pytest.mark.slow
def test_routes_of_packs_are_there_for_whoever_looks_through_them(first, second):
    assert first["routes"]
    assert second["routes"]


@pytest.mark.slow
def test_start_is_eager_again_once_a_pack_has_changed(comfyui_dir, tmp_path):
    pack = tmp_path / "custom_nodes" / "one"
    pack.mkdir(parents=True)
    (pack / "__init__.py").write_text(CLASS.format(name="One") + PACKS["a_plain"])
    script = BOOT + "print(json.dumps([at_start, 'Plain' in runtime.node_classes()]))"

    def start() -> list:
        done = subprocess.run(
            [sys.executable, "-c", script, str(comfyui_dir), str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=240,
            check=True,
            cwd=PROJECT,
        )
        return json.loads(done.stdout.strip().splitlines()[-1])

    assert start() == [["one"], True]
    assert start() == [[], True]
    (pack / "__init__.py").write_text(CLASS.format(name="One") + "NODE_CLASS_MAPPINGS = {}\n")
    assert start() == [["one"], False]
    assert start() == [[], False]


def source(folder: Path) -> Path:
    for name, text in {
        "nodes.py": "KSampler = 1\n",
        "comfyui_version.py": "__version__ = '1.2.3'\n",
        "comfy_extras/nodes_one.py": "class A: ...\n",
        "comfy/utils.py": "answer = 42\n",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def comfyui(tmp_path) -> Path:
    return source(tmp_path / "ComfyUI")


@pytest.fixture
def pack(tmp_path) -> Path:
    folder = tmp_path / "a_pack"
    (folder / "inner").mkdir(parents=True)
    (folder / "__init__.py").write_text("from .inner import one\n")
    (folder / "inner" / "one.py").write_text("one = 1\n")
    return folder


@pytest.fixture
def index(comfyui, pack) -> NodeIndex:
    return NodeIndex(
        comfyui_version="1.2.3",
        comfyui_digest=digest_of_comfyui(comfyui),
        environment=digest_of_environment(),
        api_nodes=False,
        core={"comfy_extras/nodes_one.py": ("A",), "comfy_api_nodes/nodes_two.py": ("B",)},
        packs={"a_pack": IndexedPack(digest=digest_of_pack(pack), classes=("P",))},
    )


def test_index_fits_the_sources_it_was_made_of_whatever_their_times(index, comfyui, pack):
    os.utime(comfyui / "nodes.py", (1, 1))
    os.utime(pack / "__init__.py", (1, 1))
    (comfyui / "__pycache__").mkdir()
    (comfyui / "__pycache__" / "nodes.py").write_text("not a source\n")
    assert misfit(index, comfyui, [pack], api_nodes=False) is None
    assert misfit(index, comfyui, [], api_nodes=False) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("comfy_extras/nodes_one.py", "class B: ...\n"),
        ("comfy_extras/nodes_new.py", ""),
        ("nodes.py", "KSampled = 1\n"),
        ("comfy/utils.py", "answer = 142\n"),
    ],
)
def test_index_does_not_fit_another_comfyui(index, comfyui, name, text):
    (comfyui / name).write_text(text)
    assert misfit(index, comfyui, [], api_nodes=False) == "ComfyUI's source is another one"


@pytest.mark.parametrize(
    ("name", "text"),
    [("__init__.py", "from .inner import two\n"), ("inner/one.py", "one = 11\n"), ("new.py", "")],
)
def test_index_does_not_fit_a_changed_pack(index, comfyui, pack, name, text):
    (pack / name).write_text(text)
    reason = misfit(index, comfyui, [pack], api_nodes=False)
    assert reason == "packs are new or changed: a_pack"


def test_index_does_not_fit_other_installed_packages(index, comfyui, pack, tmp_path, monkeypatch):
    (tmp_path / "site" / "new_package-1.0.dist-info").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    reason = misfit(index, comfyui, [pack], api_nodes=False)
    assert reason == "packages were installed, changed or removed"


def test_index_without_paid_services_does_not_fit_a_start_with_them(index, comfyui):
    assert "paid services" in misfit(index, comfyui, [], api_nodes=True)
    assert list(index.core_files(api_nodes=False)) == ["comfy_extras/nodes_one.py"]


def test_index_is_kept_and_read_again(index, tmp_path):
    assert read_node_index(tmp_path) is None
    write_node_index(tmp_path, index)
    assert read_node_index(tmp_path) == index


def test_index_that_cannot_be_read_counts_as_none(tmp_path):
    (tmp_path / "node_index.json").write_text('{"from": "another version"}')
    assert read_node_index(tmp_path) is None


def test_classes_of_a_file_that_does_not_import_are_read_off_its_text(tmp_path):
    file = tmp_path / "nodes_new.py"
    file.write_text(
        "import not_there\n"
        "class One(io.ComfyNode):\n"
        "    def define_schema(cls):\n"
        "        return io.Schema(node_id='FirstNode', category='x')\n"
        "NODE_CLASS_MAPPINGS = {'SecondNode': object}\n"
    )
    assert set(declared_classes(file)) == {"FirstNode", "SecondNode"}
