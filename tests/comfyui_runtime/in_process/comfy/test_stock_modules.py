"""ComfyUI's modules can be imported in any order."""

from __future__ import annotations

import subprocess
import sys

import pytest
from places import PROJECT

IMPORT = """
import sys
from pathlib import Path
from comfyui_runtime.in_process.comfy.stock_modules import offer_stock_modules
sys.path.insert(0, sys.argv[1])
offer_stock_modules(Path(sys.argv[1]))
for name in sys.argv[2:]:
    module = __import__(f"comfy_extras.{name}", fromlist=["name"])
    assert module is sys.modules[f"comfy_extras.{name}"]
    print(module.name())
"""


@pytest.fixture
def imported(tmp_path):
    def run(*names: str, **files: str) -> subprocess.CompletedProcess[str]:
        folder = tmp_path / "comfy_extras"
        folder.mkdir()
        for name, text in files.items():
            (folder / f"{name}.py").write_text(text)
        return subprocess.run(
            [sys.executable, "-c", IMPORT, str(tmp_path), *names],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=PROJECT,
        )

    return run


CIRCLE = {
    "latent": "import comfy_extras.post\ndef name(): return 'latent of ' + comfy_extras.post.OF\n",
    "post": "from comfy_extras.latent import name\nOF = 'post'\n",
}


@pytest.mark.parametrize("names", [("latent", "post"), ("post", "latent")])
def test_either_of_two_node_files_that_import_each_other_can_be_the_first(imported, names):
    done = imported(*names, **CIRCLE)
    assert done.stdout.splitlines() == ["latent of post"] * 2, done.stderr


def test_circle_that_can_be_entered_by_none_fails_with_the_reason(imported):
    done = imported(
        "one",
        one="from comfy_extras.two import b\na = 1\n",
        two="from comfy_extras.one import a\nb = 1\n",
    )
    assert done.returncode == 1
    assert "ImportError: cannot import name" in done.stderr
    assert "RecursionError" not in done.stderr


def test_name_that_a_node_file_lacks_fails_with_the_reason(imported):
    done = imported("one", one="from comfy_extras.two import missing\n", two="")
    assert "cannot import name 'missing' from 'comfy_extras.two'" in done.stderr
