"""Process start to ready, and to the first result.

With ``BENCH_NODE_PACKS``, a folder of node packs whose requirements are installed, the start with
them is measured as well; ``BENCH_USED_PACKS`` names (comma separated) those that a graph uses.
"""

from __future__ import annotations

import compileall
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.held import processor_seconds
from bench.own_function import PROJECT
from bench.photos import as_base64, jpeg, photo
from bench.rows import Row, Spread
from bench.stock_server import stock_server
from comfyui_runtime.remote.runtime import ServerRuntime
from comfyui_runtime.run.cancellation import Cancellation
from comfyui_runtime.workflow.manifest import load_workflow
from comfyui_runtime.workflow.parameters import resolve_parameters
from comfyui_runtime.workflow.patch import patch
from handler.settings import load_settings

if TYPE_CHECKING:
    from bench.scale import Scale

_TIMEOUT = 300.0
_SIDE = 512
_WORKFLOW = "illustrate"
_IMPORT_TORCH = "import torch, time; print(time.monotonic(), flush=True)"

Marks = dict[str, float]


def measure(scale: Scale) -> list[Row]:
    """Start each kind in turn, so that a busy moment of the machine affects all of them."""
    comfyui_dir = load_settings().comfyui_dir
    for source in (comfyui_dir, PROJECT / "comfyui_runtime", PROJECT / "handler"):
        # As in an image, where neither side compiles its source at start.
        compileall.compile_dir(source, quiet=2)
    torch, ours, with_checkpoint, peer = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        event = _event_file(Path(folder))
        base = Path(folder) / "base"
        _index(comfyui_dir, base)
        for _ in range(scale.starts):
            torch.append(_import_torch())
            ours.append(_start_ours(base, "job", str(event)))
            with_checkpoint.append(_start_ours(base, "checkpoint"))
            peer.append(_start_peer(comfyui_dir, Path(folder) / "peer"))
        with_packs = _with_packs(comfyui_dir, Path(folder) / "packs", scale)

    def row(what: str, samples: list[float], key: str, goal: str = "") -> Row:
        return Row(
            group="cold start",
            what=what,
            unit="s",
            ours=Spread.of(samples),
            other=Spread.of([marks[key] for marks in peer]),
            compared_with="stock server",
            goal=goal,
        )

    ready = [marks["ready"] for marks in ours + with_checkpoint]
    processor = [marks["ready_cpu"] for marks in ours + with_checkpoint]
    first_result = [marks["job"] for marks in ours]
    checkpoint = [marks["checkpoint"] for marks in with_checkpoint]
    return [
        row("process start to ready", ready, "ready", "≤ 0.35"),
        row("the same, in processor time", processor, "ready_cpu", "≤ 0.35"),
        Row(
            group="cold start",
            what="process start to ready",
            unit="s",
            ours=Spread.of(ready),
            other=Spread.of(torch),
            compared_with="import torch alone",
            goal="≤ 1.3",
        ),
        row(f"to the first result ({_WORKFLOW}, {_SIDE} px)", first_result, "first_result"),
        row("until what a checkpoint's graph imports is imported", checkpoint, "ready", "≤ 0.60"),
        *with_packs,
    ]


def _with_packs(comfyui_dir: Path, base: Path, scale: Scale) -> list[Row]:
    packs = os.environ.get("BENCH_NODE_PACKS")
    if not packs:
        return []
    used = [name for name in os.environ.get("BENCH_USED_PACKS", "").split(",") if name]
    shutil.copytree(packs, base / "custom_nodes")
    installed = len(list((base / "custom_nodes").iterdir()))
    compileall.compile_dir(base, quiet=2)
    _index(comfyui_dir, base)
    ours, peer = [], []
    for _ in range(scale.starts):
        ours.append(_start_ours(base, "packs", *used))
        with stock_server(comfyui_dir, base) as server:
            peer.append(server.ready_seconds)
    what = f"to ready with {installed} packs installed"
    return [
        Row(
            group="cold start",
            what=words,
            unit="s",
            ours=Spread.of([marks[mark] for marks in ours]),
            other=Spread.of(peer),
            compared_with="stock server",
            goal=goal,
        )
        for words, mark, goal in (
            (what, "ready", ""),
            (f"{what}, and {len(used)} of them imported", "packs", "≤ 0.40"),
        )
    ]


def _index(comfyui_dir: Path, base: Path) -> None:
    """Make the node index, as provisioning does."""
    (base / "custom_nodes").mkdir(parents=True, exist_ok=True)
    module = "comfyui_runtime.in_process.observe_nodes"
    subprocess.run(
        [sys.executable, "-m", module, str(comfyui_dir), str(base)],
        capture_output=True,
        timeout=_TIMEOUT,
        check=True,
        cwd=PROJECT,
    )


def _import_torch() -> float:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT_TORCH],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=True,
    )
    return float(done.stdout) - started


def _event_file(folder: Path) -> Path:
    image = as_base64(jpeg(photo(_SIDE)))
    job_input = {"workflow": _WORKFLOW, "image": image, "output": {"delivery": "base64"}}
    path = folder / "event.json"
    path.write_text(json.dumps({"input": job_input}))
    return path


def _start_ours(base: Path, *task: str) -> Marks:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "bench.cold_child", str(base), *task],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=True,
        cwd=PROJECT,
    )
    marks: Marks = json.loads(done.stdout.splitlines()[-1])
    return {
        name: value if name.endswith("_cpu") else value - started for name, value in marks.items()
    }


def _start_peer(comfyui_dir: Path, base_dir: Path) -> Marks:
    started = time.monotonic()
    with stock_server(comfyui_dir, base_dir) as server:
        processor = processor_seconds(server.process_id)
        workflow = load_workflow(PROJECT / "workflows", _WORKFLOW)
        values = resolve_parameters(workflow.manifest.parameters, {})
        patched = patch(workflow, values, {"image": photo(_SIDE)})
        ServerRuntime(server.url).run(patched, Cancellation(_TIMEOUT))
        return {
            "ready": server.ready_seconds,
            "ready_cpu": processor,
            "first_result": time.monotonic() - started,
        }
