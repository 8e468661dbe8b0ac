"""Checks an installation: GPU, ComfyUI, node packs, workflows, models, storage."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from comfyui_runtime.errors import ServiceError
from comfyui_runtime.in_process.boot import boot
from comfyui_runtime.in_process.comfy import check_source
from comfyui_runtime.in_process.observe_nodes import offered_classes
from comfyui_runtime.run.model_files import ModelFolders, check_model_file
from comfyui_runtime.workflow.manifest import load_workflow, workflow_names
from comfyui_runtime.workflow.patch import default_graph
from handler.job.start import boot_options, server_runtime
from handler.shelf import open_storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from comfyui_runtime.in_process.boot import BootReport
    from comfyui_runtime.workflow.graph import Graph
    from comfyui_runtime.workflow.manifest import Workflow
    from handler.settings import Settings

# Of the classes that differ.
_NAMED = 5


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Attributes:
        problem: What is wrong and what to do about it; ``None`` where nothing is.
        fatal: Whether the worker cannot do its default work with this problem.
    """

    subject: str
    problem: str | None = None
    fatal: bool = True


def check_installation(settings: Settings, *, only: str | None, quick: bool) -> Iterator[Finding]:
    """Check everything, and yield each finding as it is known.

    Args:
        only: Name of the one workflow to check; ``None`` for all that are installed.
        quick: Leave out what takes seconds: starting ComfyUI, and writing to the storage.
    """
    if settings.comfyui_server_url is not None:
        url = settings.comfyui_server_url
        yield _finding(
            "the ComfyUI server answers", lambda: server_runtime(url, settings.stop_grace)
        )
        return
    yield _finding(
        f"ComfyUI in {settings.comfyui_dir}", partial(check_source, settings.comfyui_dir)
    )
    folders = ModelFolders(settings.comfyui_base_dir / "models", settings.all_model_dirs)
    workflows: list[Workflow] = []
    for name in [only] if only else workflow_names(settings.workflows_dir):
        finding = _finding(
            f"workflow {name}",
            partial(_load, settings.workflows_dir, name, workflows),
        )
        yield finding
    for workflow in workflows:
        yield from _models(workflow, folders)
    if quick:
        return
    yield from _booted(settings, workflows)
    yield _finding("storage takes results", lambda: open_storage(settings).check())


def _load(folder: Path, name: str, into: list[Workflow]) -> None:
    into.append(load_workflow(folder, name))


def _models(workflow: Workflow, folders: ModelFolders) -> Iterator[Finding]:
    for model in workflow.manifest.models:
        finding = _finding(
            f"{workflow.name}: model {model.folder}/{model.file}",
            partial(check_model_file, folders, model),
        )
        yield Finding(finding.subject, finding.problem, fatal=not model.optional)


def _booted(settings: Settings, workflows: list[Workflow]) -> Iterator[Finding]:
    try:
        # Every file of nodes is imported: a worker would meet one that does not only in a job.
        runtime, report = boot(replace(boot_options(settings), lazy=False))
    except ServiceError as error:
        yield Finding(f"ComfyUI starts on {settings.device}", error.message)
        return
    try:
        yield Finding(f"ComfyUI starts on {report.device} in {report.seconds:.1f} s")
        yield from _packs(report)
        for workflow in workflows:
            yield from _node_classes(workflow, runtime.node_classes())
    finally:
        runtime.close()
    if settings.lazy:
        yield from _same_when_lazy(settings)


def _same_when_lazy(settings: Settings) -> Iterator[Finding]:
    """Start twice more, in processes of their own: with an eager and with a lazy start."""
    subject = "a lazy start offers what an eager one does"
    options, timeout = boot_options(settings), settings.boot_timeout
    try:
        eager = offered_classes(options, lazy=False, timeout=timeout)
        lazy = offered_classes(options, lazy=True, timeout=timeout)
    except ServiceError as error:
        yield Finding(subject, error.message)
        return
    # One whose file does not import is offered by a lazy start, and refused with the reason.
    missing = [name for name in eager if lazy.get(name) is None]
    more = [name for name, place in lazy.items() if place is not None and name not in eager]
    others = [name for name in eager if lazy.get(name) not in {None, eager[name]}]
    found = [
        f"{words}: {', '.join(sorted(names)[:_NAMED])} ({len(names)} in all)"
        for words, names in (
            ("classes are missing", missing),
            ("classes are there that stock lacks", more),
            ("classes are defined elsewhere", others),
        )
        if names
    ]
    problem = "; ".join(found)
    yield Finding(
        f"{subject}: {len(eager)} classes",
        f"{problem}. Name their pack in COMFYUI_EAGER_PACKS, or set COMFYUI_LAZY=false."
        if problem
        else None,
        fatal=False,
    )


def _packs(report: BootReport) -> Iterator[Finding]:
    for pack in report.node_packs:
        problem = pack.error and f"{pack.error}. Install its requirements, or remove it."
        yield Finding(f"node pack {pack.name}", problem, fatal=False)


def _node_classes(workflow: Workflow, installed: frozenset[str]) -> Iterator[Finding]:
    subject = f"{workflow.name}: node classes"
    by_default = _missing_classes(workflow, default_graph(workflow), installed)
    in_all = _missing_classes(workflow, workflow.graph, installed)
    if by_default:
        yield Finding(subject, f"missing {by_default}. Install them (./provision.sh all).")
    elif in_all:
        problem = f"some parameters need {in_all}. Install them (./provision.sh all)."
        yield Finding(subject, problem, fatal=False)
    else:
        yield Finding(subject)


def _missing_classes(workflow: Workflow, graph: Graph, installed: frozenset[str]) -> str:
    needed = {node.class_type for node in graph.nodes.values()}
    packs = workflow.manifest.node_packs
    return ", ".join(
        f"{name} (of {packs[name]})" if name in packs else name
        for name in sorted(needed - installed)
    )


def _finding(subject: str, check: Callable[[], object]) -> Finding:
    try:
        check()
    except ServiceError as error:
        return Finding(subject, error.message)
    return Finding(subject)
