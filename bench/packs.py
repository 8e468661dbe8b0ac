"""Node packs in this project's start and in a stock start of ComfyUI: the same, and how long.

``python -m bench.packs CUSTOM_NODES_FOLDER`` starts the ComfyUI of ``COMFYUI_DIR`` both ways, on
the CPU, with the packs of the folder, whose requirements must be installed. It prints for each pack
its classes, what differs, by name, seconds in each start, handlers and routes; then the times of
both starts. Its exit status is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from bench.own_function import PROJECT
from bench.pack_report import PackComparison, SeenStart, compare, markdown
from bench.rows import Row, Spread, markdown_table
from bench.stock_server import StockServerError, stock_server
from handler.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

_TIMEOUT = 600.0
_CHILD = "bench.pack_start"
_REPORT_WITHIN = 60.0


class PacksReport(BaseModel):
    """What was seen.

    Attributes:
        comfyui_version: The release that was started.
        packs: Those with differences first.
        rows: The times of both starts.
    """

    model_config = ConfigDict(frozen=True)

    comfyui_version: str
    packs: list[PackComparison]
    rows: list[Row]


def compare_packs(
    folder: Path, comfyui_dir: Path, *, used: Sequence[str] = (), starts: int = 1
) -> PacksReport:
    """Start with the packs of a folder both ways, each ``starts`` times in turn, and compare.

    Args:
        used: Packs that are imported in this project's start before its time is taken.

    Raises:
        StockServerError: ComfyUI's own server did not start.
        subprocess.CalledProcessError: This project's function did not start.
    """
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary) / "base"
        (base / "models").mkdir(parents=True)
        (base / "custom_nodes").mkdir()
        for pack in folder.resolve().iterdir():
            (base / "custom_nodes" / pack.name).symlink_to(pack)
        # As in an image, where neither side compiles its source at start.
        for source in (folder, comfyui_dir, PROJECT / "comfyui_runtime", PROJECT / "handler"):
            compileall.compile_dir(source, quiet=2)
        # The first start of all is not timed: packs write their settings then.
        stock, _ = _start_stock(comfyui_dir, base)
        _index(comfyui_dir, base)
        ours, _ = _start_ours(base, used, report=True)
        marks, peer = [], []
        for _ in range(starts):
            marks.append(_start_ours(base, used, report=False)[1])
            peer.append(_start_stock(comfyui_dir, base, report=False)[1])
    if stock is None or ours is None:
        raise RuntimeError("a start left no report")
    installed = f"process start to ready, {len(stock.packs)} packs"
    rows = [_row(installed, [mark["ready"] for mark in marks], peer)]
    if used:
        what = f"the same, {len(used)} of them imported"
        rows.append(_row(what, [mark["used"] for mark in marks], peer))
    return PacksReport(comfyui_version=stock.comfyui_version, packs=compare(stock, ours), rows=rows)


def _row(what: str, ours: list[float], peer: list[float]) -> Row:
    return Row(
        group="node packs",
        what=what,
        unit="s",
        ours=Spread.of(ours),
        other=Spread.of(peer),
        compared_with="stock server",
    )


def _start_stock(
    comfyui_dir: Path, base: Path, *, report: bool = True
) -> tuple[SeenStart | None, float]:
    """Return what stock has (if ``report``) and its seconds from process start to ready."""
    path = base.parent / "stock.json"
    program = ("-m", _CHILD, "stock", str(path)) if report else ("main.py",)
    with stock_server(comfyui_dir, base, program=program, environment=_environment()) as server:
        if not report:
            return None, server.ready_seconds
        os.kill(server.process_id, signal.SIGUSR1)
        give_up_at = time.monotonic() + _REPORT_WITHIN
        while not path.exists():
            if time.monotonic() > give_up_at:
                raise StockServerError("it did not report its node classes")
            time.sleep(0.1)
        return SeenStart.model_validate_json(path.read_bytes()), server.ready_seconds


def _index(comfyui_dir: Path, base: Path) -> None:
    """Make the node index, as provisioning does."""
    _run("comfyui_runtime.in_process.observe_nodes", str(comfyui_dir), str(base))


def _start_ours(
    base: Path, used: Sequence[str], *, report: bool
) -> tuple[SeenStart | None, dict[str, float]]:
    """Return what our start has (if ``report``) and its seconds to ready and to packs imported."""
    path, times = base.parent / ("ours.json" if report else "-"), base.parent / "times.json"
    started = time.monotonic()
    _run(_CHILD, "ours", str(path), str(times), str(base), *used)
    marks = {name: at - started for name, at in json.loads(times.read_text()).items()}
    return (SeenStart.model_validate_json(path.read_bytes()) if report else None), marks


def _environment() -> dict[str, str]:
    """Return the variables of both starts. Some packs offer choices in the order of a set."""
    paths = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(PROJECT))))
    return {**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "0"}


def _run(module: str, *arguments: str) -> None:
    """Run a module as a process.

    Raises:
        subprocess.CalledProcessError: It failed; what it said is on standard error.
    """
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(
        command,
        capture_output=True,
        timeout=_TIMEOUT,
        check=False,
        cwd=PROJECT,
        env=_environment(),
    )
    if done.returncode != 0:
        sys.stderr.write(done.stderr.decode(errors="replace")[-4000:])
        done.check_returncode()


def main() -> int:
    """Compare, print and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.packs", description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder like custom_nodes")
    parser.add_argument(
        "--used", action="append", default=[], help="a pack that a graph uses; may be repeated"
    )
    parser.add_argument("--starts", type=int, default=3, help="timed starts of each kind")
    parser.add_argument("--json", type=Path, help="where to write what was seen")
    args = parser.parse_args()
    report = compare_packs(
        args.folder, load_settings().comfyui_dir.resolve(), used=args.used, starts=args.starts
    )
    if args.json:
        args.json.write_text(report.model_dump_json(indent=1) + "\n")
    with contextlib.suppress(BrokenPipeError):
        print(f"ComfyUI {report.comfyui_version}\n\n{markdown(report.packs)}")
        print(f"\n{markdown_table(report.rows)}")
    return 1 if any(pack.differences for pack in report.packs) else 0


if __name__ == "__main__":
    sys.exit(main())
