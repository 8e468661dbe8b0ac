"""Writes a workflow's folder, and keeps what a person changed there."""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from comfyui_runtime.errors import WorkflowError
from comfyui_runtime.workflow.manifest import GRAPH_FILE, MANIFEST_FILE, Workflow, load_workflow
from handler.adding.errors import WorkflowFileError
from handler.adding.merge import merged

if TYPE_CHECKING:
    from handler.adding.analysis import Addition

STATE_FILE = ".added.json"


@dataclass(frozen=True)
class WorkflowFiles:
    """The files of a workflow as they are to be.

    Attributes:
        workflow: The workflow as the worker will load it.
        kept_graph: Whether ``graph.json`` stays because a person changed it.
        kept_tables: Whether a person's changes to ``manifest.toml`` were kept.
        state: What was written, for the next time.
    """

    workflow: Workflow
    manifest: str
    graph: str
    kept_graph: bool
    kept_tables: bool
    state: str

    def write(self, folder: Path) -> None:
        """Write them below ``folder``."""
        target = folder / self.workflow.name
        target.mkdir(parents=True, exist_ok=True)
        (target / GRAPH_FILE).write_text(self.graph)
        (target / MANIFEST_FILE).write_text(self.manifest)
        (target / STATE_FILE).write_text(self.state)


def workflow_files(folder: Path, addition: Addition) -> WorkflowFiles:
    """Return what ``folder/<name>`` is to hold; nothing is written there.

    Raises:
        WorkflowFileError: A folder of that name is there that ``add`` did not make, or a person's
            changes do not fit the workflow any more.
    """
    new_graph = _written(json.dumps(addition.graph.to_api(), indent=2, ensure_ascii=False)) + "\n"
    new_manifest = addition.manifest()
    target = folder / addition.name
    manifest, graph, kept_graph, kept_tables = new_manifest, new_graph, False, False
    if (target / MANIFEST_FILE).exists():
        old = _state(target)
        current = (target / MANIFEST_FILE).read_text()
        kept_tables = current != old["manifest"]
        manifest = merged(old["manifest"], current, new_manifest)
        current_graph = (target / GRAPH_FILE).read_text()
        kept_graph = _digest(current_graph) != old["graph_sha256"]
        graph = current_graph if kept_graph else new_graph
    state = {"manifest": new_manifest, "graph_sha256": _digest(new_graph)}
    return WorkflowFiles(
        workflow=_loaded(addition.name, manifest, graph),
        manifest=manifest,
        graph=graph,
        kept_graph=kept_graph,
        kept_tables=kept_tables,
        state=json.dumps(state, ensure_ascii=False) + "\n",
    )


def _state(target: Path) -> dict[str, str]:
    try:
        state = json.loads((target / STATE_FILE).read_text())
        return {key: str(state[key]) for key in ("manifest", "graph_sha256")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WorkflowFileError(
            f"{target} is a workflow that add did not write. Choose another name with --name."
        ) from error


def _loaded(name: str, manifest: str, graph: str) -> Workflow:
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / name
        place.mkdir()
        (place / MANIFEST_FILE).write_text(manifest)
        (place / GRAPH_FILE).write_text(graph)
        try:
            return load_workflow(Path(scratch), name)
        except WorkflowError as error:
            raise WorkflowFileError(
                f"What would be written does not fit together: {error.message}", **error.details
            ) from error


def _written(text: str) -> str:
    """Return a text without lone surrogates, which JSON can escape and UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
