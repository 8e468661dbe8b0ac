"""Makes the node index of the ComfyUI and the packs that are installed, by starting them eagerly.

``python -m comfyui_runtime.in_process.observe_nodes COMFYUI_DIR BASE_DIR`` writes
``BASE_DIR/node_index.json``; it does nothing where that fits already. The requirements of ComfyUI
and of the packs must be installed. It needs no GPU.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from comfyui_runtime.errors import BootError, ServiceError
from comfyui_runtime.in_process import comfy
from comfyui_runtime.in_process.boot import boot
from comfyui_runtime.in_process.comfy.node_index import (
    INDEX_FILE,
    NodeIndex,
    read_node_index,
)
from comfyui_runtime.in_process.options import BootOptions

_CLASSES = "--classes"
_THIS_MODULE = "comfyui_runtime.in_process.observe_nodes"
_OPTIONS = TypeAdapter(BootOptions)
_NAMES = TypeAdapter(dict[str, str | None])


def make_index(comfyui_dir: Path, base_dir: Path) -> NodeIndex:
    """Start ComfyUI eagerly in this process if the index does not fit; return the index.

    Raises:
        BootError: ComfyUI could not be started, or the index could not be kept.
    """
    options = BootOptions(comfyui_dir, base_dir, device="cpu", api_nodes=True)
    runtime, _ = boot(options)
    runtime.close()
    index = read_node_index(base_dir)
    if index is None:
        raise BootError(
            f"No node index was made in {base_dir}. The folder must be writable, and ComfyUI one "
            "of the releases that are proved here."
        )
    return index


def offered_classes(options: BootOptions, *, lazy: bool, timeout: float) -> dict[str, str | None]:
    """Start ComfyUI in a process of its own, load everything, and return what it offers.

    Args:
        timeout: Seconds that the process may take.

    Returns:
        By ``class_type``, where the class was defined; ``None`` for one that is offered and
        cannot be loaded.

    Raises:
        BootError: ComfyUI could not be started.
    """
    given = _OPTIONS.dump_json(replace(options, lazy=lazy, exit_when_stuck=False))
    with tempfile.TemporaryDirectory() as folder:
        offered = Path(folder) / "offered.json"
        try:
            done = subprocess.run(
                [sys.executable, "-m", _THIS_MODULE, _CLASSES, str(offered)],
                input=given,
                capture_output=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise BootError(f"ComfyUI was not started within {timeout:.0f} s.") from error
        if done.returncode != 0:
            last_line = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise BootError(f"ComfyUI could not be started in a process of its own: {last_line}")
        return _NAMES.validate_json(offered.read_bytes())


def _write_classes(options: BootOptions, path: Path) -> None:
    runtime, _ = boot(options)
    classes = comfy.node_classes()
    offered = {
        name: None if (found := classes.get(name)) is None else _place(found)
        for name in sorted(runtime.node_classes())
    }
    path.write_bytes(_NAMES.dump_json(offered))


def _place(node_class: Any) -> str:  # noqa: ANN401 - a node class
    return f"{node_class.__module__}.{node_class.__qualname__}"


def main(arguments: list[str]) -> int:
    """Run the command; return the exit status."""
    if arguments[:1] == [_CLASSES]:
        _write_classes(_OPTIONS.validate_json(sys.stdin.buffer.read()), Path(arguments[1]))
        return 0
    comfyui_dir, base_dir = map(Path, arguments)
    try:
        if not comfy.read_source(comfyui_dir).proved:
            print("This ComfyUI is newer than those proved here: it starts eagerly, with no index.")
            return 0
        index = make_index(comfyui_dir.resolve(), base_dir.resolve())
    except ServiceError as error:
        print(error.message, file=sys.stderr)
        return 1
    classes = sum(map(len, index.core.values())) + sum(len(p.classes) for p in index.packs.values())
    print(f"{base_dir / INDEX_FILE}: {classes} classes, {len(index.packs)} packs")
    for name, pack in index.packs.items():
        if pack.eager:
            print(f"  {name} is loaded at every start: {pack.eager}")
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    # Packs leave threads that nothing ends.
    os._exit(status)
