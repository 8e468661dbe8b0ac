"""This project's function, booted in this process."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from handler.job.start import start
from handler.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from handler.job.invoke import Function

PROJECT = Path(__file__).resolve().parent.parent
WORKFLOWS = Path(__file__).parent / "workflows"


@contextlib.contextmanager
def own_function(
    settings: Mapping[str, object] | None = None,
    *,
    workflows: Path = WORKFLOWS,
    node_pack: bool = False,
    base: Path | None = None,
) -> Iterator[Function]:
    """Boot on the CPU, with results in a temporary folder.

    Args:
        settings: Further settings by their field names.
        workflows: Folder with the workflows.
        node_pack: Whether to install the benchmark's own node pack.
        base: Folder with ``models``, ``custom_nodes`` and the node index; a new one without it.
    """
    with tempfile.TemporaryDirectory() as folder:
        base = base or Path(folder) / "base"
        if node_pack:
            shutil.copytree(Path(__file__).parent / "node_pack", base / "custom_nodes" / "bench")
        own: dict[str, object] = {
            "device": "cpu",
            "workflows_dir": workflows,
            "comfyui_base_dir": base,
            "results_dir": Path(folder) / "results",
            "kept_results_dir": Path(folder) / "kept",
            "input_allowed_hosts": "127.0.0.1",
        }
        yield start(load_settings(**own, **(settings or {})))
