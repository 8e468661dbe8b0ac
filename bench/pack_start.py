"""One start with node packs, as a process of its own; :mod:`bench.packs` compares two.

``python -m bench.pack_start stock REPORT OPTION ...`` runs ComfyUI's ``main.py`` with the options,
and writes the report when it gets SIGUSR1.

``python -m bench.pack_start ours REPORT TIMES BASE_DIR PACK ...`` starts this project's function,
has the packs imported as a graph with a class of each does, and writes when that was done; then it
asks for every class and writes the report, unless it is called ``-``.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import os
import re
import runpy
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.pack_report import SeenClass, SeenPack, SeenStart

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

    from comfyui_runtime.in_process.boot import BootReport

_PACKS_MODULE = "custom_nodes."
_IMPORT_TIME = re.compile(r"^ *([\d.]+) seconds( \(IMPORT FAILED\))?: (.*)$")
_CANNOT_IMPORT = re.compile(
    r"^(?:Cannot import (?P<pack>.*?) module for custom nodes"
    r"|Error while calling comfy_entrypoint in (?P<newer>.*?)): *(?P<reason>.*)$",
    re.DOTALL,
)


def main(kind: str, report: str, *arguments: str) -> None:
    """Start the one or the other."""
    if kind == "stock":
        _stock(Path(report), arguments)
    else:
        times, base_dir, *used = arguments
        _ours(Path(report), Path(times), Path(base_dir), used)


class _PackLog(logging.Handler):
    """Takes from ComfyUI's log what it says about packs: its only report."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: dict[str, float] = {}
        self.errors: dict[str, str] = {}
        self._traceback = ""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if took := _IMPORT_TIME.match(message):
            pack = Path(took[3]).name
            self.seconds[pack] = float(took[1])
            if took[2]:
                self.errors.setdefault(pack, "ComfyUI gave no reason")
        elif failed := _CANNOT_IMPORT.match(message):
            reason = failed["reason"] or self._traceback.strip().rpartition("\n")[2]
            self.errors[Path(failed["pack"] or failed["newer"]).name] = reason
        self._traceback = message


def _stock(report: Path, options: tuple[str, ...]) -> None:
    pack_log = _PackLog()
    logging.getLogger().addHandler(pack_log)

    def write_report(_number: int, _frame: FrameType | None) -> None:
        nodes = importlib.import_module("nodes")
        packs = _seen(nodes.NODE_CLASS_MAPPINGS, pack_log.seconds, pack_log.errors)
        _write(report, packs)
        os._exit(0)

    signal.signal(signal.SIGUSR1, write_report)
    os.listdir = _packs_by_name(os.listdir)
    sys.argv = ["main.py", *options]
    runpy.run_path("main.py", run_name="__main__")


def _packs_by_name(listed: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """Return ``os.listdir``, with packs by name: ComfyUI loads them in the file system's order.

    Of two packs with a class of the same name the last one wins, so that the order counts.
    """

    def by_name(path: Any = ".") -> list[Any]:  # noqa: ANN401 - as os.listdir takes it
        names = listed(path)
        return sorted(names) if Path(str(path)).name == "custom_nodes" else names

    return by_name


def _ours(report: Path, times: Path, base_dir: Path, used: list[str]) -> None:
    from comfyui_runtime.in_process.comfy import node_classes
    from comfyui_runtime.in_process.comfy.node_index import read_node_index
    from handler.job.start import start
    from handler.settings import load_settings

    reports: list[BootReport] = []
    settings = load_settings(
        device="cpu",
        comfyui_base_dir=base_dir,
        node_dirs=[],
        model_dirs=[],
        results_dir=base_dir / "results",
        kept_results_dir=base_dir / "kept",
    )
    function = start(settings, on_boot=reports.append)
    ready = time.monotonic()
    index = read_node_index(base_dir)
    packs = {} if index is None else index.packs
    classes = node_classes()
    for pack in used:
        if pack not in packs:
            sys.exit(f"{pack} is in no index of {base_dir}")
        for class_type in packs[pack].classes[:1]:
            classes.get(class_type)
    times.write_text(json.dumps({"ready": ready, "used": time.monotonic()}))
    if report.name == "-":
        os._exit(0)
    handlers = _handlers()
    errors = {pack.name: _reason(pack.error) for pack in reports[0].node_packs if pack.error}
    later: dict[str, float] = {}
    for name, entry in packs.items():
        started = time.perf_counter()
        for class_type in entry.classes[:1]:
            classes.get(class_type)
        later[name] = time.perf_counter() - started
    seconds = {pack.name: pack.seconds for pack in reports[0].node_packs}
    _write(report, _seen(dict(classes), seconds, errors, later, handlers))
    del function
    os._exit(0)


def _reason(error: str) -> str:
    failed = _CANNOT_IMPORT.match(error)
    return failed["reason"] if failed else error


def _write(report: Path, packs: dict[str, SeenPack]) -> None:
    version = importlib.import_module("comfyui_version").__version__
    unfinished = report.with_suffix(".part")
    unfinished.write_text(SeenStart(comfyui_version=version, packs=packs).model_dump_json())
    unfinished.replace(report)


def _seen(
    classes: Mapping[str, Any],
    seconds: Mapping[str, float],
    errors: Mapping[str, str],
    later: Mapping[str, float] | None = None,
    handlers: list[tuple[str, str]] | None = None,
) -> dict[str, SeenPack]:
    """Return each pack with what is registered now.

    Args:
        handlers: Those that were registered at an earlier moment, which counts.
    """
    handlers = _handlers() if handlers is None else handlers
    routes = [
        (pack, f"{route.method} {route.path}")
        for route in _server().routes
        if (pack := _pack_of(route.handler)) is not None
    ]
    return {
        name: SeenPack(
            seconds=taken,
            seconds_later=(later or {}).get(name, 0.0),
            error=errors.get(name),
            classes={
                class_type: _seen_class(node_class)
                for class_type, node_class in classes.items()
                if _defines(name, node_class)
            },
            handlers=tuple(handler for pack, handler in handlers if pack == name),
            routes=tuple(route for pack, route in routes if pack == name),
        )
        for name, taken in seconds.items()
    }


def _defines(pack: str, node_class: Any) -> bool:  # noqa: ANN401 - a node class
    module = str(getattr(node_class, "RELATIVE_PYTHON_MODULE", ""))
    name = pack.removesuffix(".py")
    return module == f"{_PACKS_MODULE}{name}"


def _seen_class(node_class: Any) -> SeenClass:  # noqa: ANN401 - a node class
    module = str(node_class.__module__).rpartition("/")[2]
    return SeenClass(
        defined_in=f"{module}.{node_class.__qualname__}", declares=_declares(node_class)
    )


def _declares(node_class: Any) -> str:  # noqa: ANN401 - a node class
    try:
        inputs = {
            group: {name: _kind(spec) for name, spec in members.items()}
            for group, members in node_class.INPUT_TYPES().items()
        }
        returns = [_kind([kind]) for kind in node_class.RETURN_TYPES]
    except Exception as error:  # noqa: BLE001 - a pack's code; it fails alike in both or differs
        return f"{type(error).__name__}: {error}"
    output = getattr(node_class, "OUTPUT_NODE", False) is True
    return json.dumps([inputs, returns, output], sort_keys=True)


def _kind(spec: Any) -> str:  # noqa: ANN401 - as declared
    """Return an input's type; of choices a digest, so that hundreds of them are as short."""
    kind = spec[0] if isinstance(spec, list | tuple) and spec else spec
    if isinstance(kind, list | tuple):
        text = "\n".join(map(str, kind))
        return f"{len(kind)} choices {hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}"
    return kind if isinstance(kind, str) else type(kind).__name__


def _handlers() -> list[tuple[str, str]]:
    return [
        (pack, getattr(handler, "__qualname__", type(handler).__name__))
        for handler in _server().on_prompt_handlers
        if (pack := _pack_of(handler)) is not None
    ]


def _pack_of(function: Any) -> str | None:  # noqa: ANN401 - any callable
    """Return the pack whose code a function is, by where its module's file lies."""
    function = getattr(function, "func", function)
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    module = sys.modules.get(str(getattr(function, "__module__", "")))
    file = getattr(module, "__file__", None) or getattr(code, "co_filename", None)
    parts = Path(file or "").parts
    if "custom_nodes" not in parts:
        return None
    return parts[parts.index("custom_nodes") + 1]


def _server() -> Any:  # noqa: ANN401 - a class of ComfyUI's
    return importlib.import_module("server").PromptServer.instance


if __name__ == "__main__":
    main(*sys.argv[1:])
