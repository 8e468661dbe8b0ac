"""``python -m bench.editor_comparison``: our conversion of workflows beside the editor's own.

It starts ComfyUI's stock server with its front end (the package ``comfyui-frontend-package``),
opens it in headless Chromium, has it load each workflow and hand it over as it would to run it,
and compares that with what ``comfyui_runtime.workflow.editor`` makes of the same file and the same
node definitions. COMFYUI_DIR names the ComfyUI; Chromium and its driver have to be on PATH.

Titles are left out, because the editor translates them. So are values that the editor draws: the
picture of a 3D scene, a choice among ``{a|b}``, today's date in a file's name.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from bench.stock_server import stock_server
from bench.templates import open_templates
from comfyui_runtime.errors import ServiceError
from comfyui_runtime.workflow.editor import convert, parse_definitions, parse_document
from handler.adding.source import read_source

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from comfyui_runtime.workflow.editor import Conversion, NodeDefinition

_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--lang=en-US",
)
_READY = (
    "return !!(window.app && window.app.graph && window.LiteGraph && "
    "Object.keys(window.LiteGraph.registered_node_types).length > 100)"
)
_CONVERT = """
const [text, done] = arguments;
(async () => {
  try {
    await app.loadGraphData(JSON.parse(text));
    done({graph: (await app.graphToPrompt()).output});
  } catch (error) {
    done({error: String(error)});
  }
})();
"""
_READY_WITHIN = 120.0
_CONVERTED_WITHIN = 60.0
_SHOWN = 5


@dataclass(frozen=True)
class Comparison:
    """One workflow, converted by both.

    Attributes:
        missing: Classes that are not installed: the editor cannot convert such a workflow.
        error: Why one of both did not convert it.
        differences: Each place where the two graphs differ.
    """

    name: str
    missing: tuple[str, ...] = ()
    error: str | None = None
    differences: tuple[str, ...] = ()

    @property
    def counts(self) -> bool:
        """Whether both converted it."""
        return not self.missing and self.error is None


class Editor:
    """ComfyUI's editor in a browser."""

    def __init__(self, browser: Any, url: str) -> None:  # noqa: ANN401 - selenium's driver
        self._browser = browser
        browser.set_script_timeout(_CONVERTED_WITHIN)
        browser.get(url)
        give_up_at = time.monotonic() + _READY_WITHIN
        while not browser.execute_script(_READY):
            if time.monotonic() > give_up_at:
                raise TimeoutError("The editor did not come up.")
            time.sleep(0.25)

    def convert(self, text: str) -> dict[str, Any]:
        """Return ``{"graph": …}`` as the editor hands a workflow over, or ``{"error": …}``."""
        answer: dict[str, Any] = self._browser.execute_async_script(_CONVERT, text)
        return answer


@contextlib.contextmanager
def open_editor(comfyui_dir: Path) -> Iterator[tuple[Editor, dict[str, NodeDefinition]]]:
    """Start server and browser, and yield the editor with the server's node definitions.

    Raises:
        FileNotFoundError: The front end's package or the browser is missing.
        StockServerError: The server does not come up.
    """
    static = front_end()
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if static is None or chromium is None or driver is None:
        raise FileNotFoundError(
            "Needed: pip install comfyui-frontend-package selenium; apt-get install chromium "
            "chromium-driver."
        )
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "web").symlink_to(static)
        with stock_server(comfyui_dir, Path(scratch)) as server:
            info = requests.get(f"{server.url}/object_info", timeout=60).json()
            options = webdriver.ChromeOptions()
            options.binary_location = chromium
            for argument in (*_ARGUMENTS, f"--user-data-dir={scratch}/profile"):
                options.add_argument(argument)
            browser = webdriver.Chrome(options=options, service=Service(driver))
            try:
                yield Editor(browser, server.url), parse_definitions(info)
            finally:
                browser.quit()


def front_end() -> Path | None:
    """Return the folder of the installed front end, if there is one."""
    spec = importlib.util.find_spec("comfyui_frontend_package")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(place) / "static" / "index.html").is_file():
            return Path(place) / "static"
    return None


def compare(
    name: str,
    data: Any,  # noqa: ANN401 - JSON
    editor: Editor,
    definitions: Mapping[str, NodeDefinition],
) -> Comparison:
    """Convert a workflow in both ways.

    Args:
        data: The workflow in the editor's format, as JSON data.
    """
    try:
        ours = convert(parse_document(data), definitions)
    except ServiceError as error:
        return Comparison(name, error=f"ours: {error.message}")
    if ours.missing:
        return Comparison(name, missing=ours.missing)
    answer = editor.convert(json.dumps(data))
    if "error" in answer:
        return Comparison(name, error=f"the editor: {answer['error']}")
    return Comparison(name, differences=tuple(differences(answer["graph"], ours)))


def differences(editors: Mapping[str, Any], conversion: Conversion) -> Iterator[str]:
    """Yield where two graphs in API format differ, titles and drawn values left out."""
    ours = conversion.graph
    for node_id in sorted({*editors, *ours}):
        if node_id not in ours or node_id not in editors:
            where = "ours" if node_id not in ours else "the editor's"
            yield f"{where} lacks node {node_id}"
            continue
        theirs, mine = editors[node_id], ours[node_id]
        if theirs["class_type"] != mine["class_type"]:
            yield f"{node_id}: {theirs['class_type']} there, {mine['class_type']} here"
        for name in sorted({*theirs["inputs"], *mine["inputs"]}):
            there = theirs["inputs"].get(name, "(none)")
            here = mine["inputs"].get(name, "(none)")
            is_drawn = (node_id, name) in conversion.drawn or _is_drawn(
                mine["class_type"], name, here
            )
            if there != here and not is_drawn:
                yield f"{node_id}.{name}: {there!r} there, {here!r} here"


def _is_drawn(class_type: str, name: str, here: object) -> bool:
    if name == "viewport_state" or (class_type, name) == ("Load3D", "image"):
        return True
    is_dated = isinstance(here, str) and any(
        part in here for part in ("%year%", "%month%", "%day%")
    )
    return name == "filename_prefix" and is_dated


def main(argv: Sequence[str] | None = None) -> int:
    """Print how many are equal, and where the others differ; the status is 1 below 98 %."""
    parser = argparse.ArgumentParser(prog="python -m bench.editor_comparison", description=__doc__)
    parser.add_argument("sources", nargs="*", help="workflow files or templates (else all open)")
    args = parser.parse_args(argv)
    comfyui_dir = Path(os.environ.get("COMFYUI_DIR", ".comfyui/src/ComfyUI")).resolve()
    with open_editor(comfyui_dir) as (editor, definitions):
        results = [
            compare(name, read_source(name).data, editor, definitions)
            for name in args.sources or open_templates()
        ]
    counted = [one for one in results if one.counts]
    equal = [one for one in counted if not one.differences]
    print(
        f"{len(results)} workflows: {len(counted)} converted by both, "
        f"{sum(bool(one.missing) for one in results)} with classes that are not installed, "
        f"{sum(one.error is not None for one in results)} not converted by one."
    )
    share = 100 * len(equal) / len(counted) if counted else 100.0
    print(f"Equal: {len(equal)} of {len(counted)} ({share:.1f} %).")
    for one in results:
        if one.error is not None:
            print(f"- {one.name}: {one.error}")
        for difference in one.differences[:_SHOWN]:
            print(f"- {one.name}: {difference}")
    return 0 if len(equal) >= 0.98 * len(counted) else 1


if __name__ == "__main__":
    raise SystemExit(main())
