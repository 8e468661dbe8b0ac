"""``add``: from a file that ComfyUI saved to a workflow."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from handler.adding.errors import WorkflowFileError
from handler.commands.options import settings_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from handler.adding.installed import Installed
    from handler.settings import Settings

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "add",
        help="make a workflow of a file that ComfyUI saved",
        description="Make a workflow of a file that ComfyUI saved: in the editor's format or in "
        "API format, as JSON or inside a picture, a video or a sound. Its models and node packs "
        "are added to models.txt and node_packs.txt.",
    )
    parser.add_argument("source", help="a path, an http(s) address, or an official template's name")
    parser.add_argument("--name", help="name of the workflow (else the file's)")
    parser.add_argument("--dry-run", action="store_true", help="show everything, write nothing")
    parser.add_argument(
        "--offline", action="store_true", help="do not ask the models' hosts for sizes"
    )
    parser.add_argument(
        "--lists",
        type=Path,
        default=None,
        metavar="FOLDER",
        help="folder with models.txt and node_packs.txt (else the project's)",
    )
    parser.set_defaults(execute=execute, cpu=True)


def execute(args: argparse.Namespace) -> int:
    """Write the workflow and print what was made and what is lacking."""
    from handler.adding.analysis import analyse, class_types, with_models
    from handler.adding.folder import workflow_files
    from handler.adding.hosts import with_sizes
    from handler.adding.report import report_lines
    from handler.adding.source import read_source

    if args.name is not None and not _NAME.fullmatch(args.name):
        raise WorkflowFileError(
            f'"{args.name}" cannot be a workflow\'s name: use lower-case letters, digits, _ and -.'
        )
    source = read_source(args.source)
    names = class_types(source)
    settings = settings_of(args)
    addition = analyse(source, _installed(settings, names), name=args.name)
    silent: list[str] = []
    if not args.offline:
        models, silent = with_sizes(addition.models)
        addition = with_models(addition, models)
    files = workflow_files(settings.workflows_dir, addition)
    print("\n".join(report_lines(addition, silent)))
    if args.dry_run:
        print("\nNothing was written. manifest.toml would be:\n")
        print(files.manifest)
        return 0
    files.write(settings.workflows_dir)
    print(f"\nWrote {settings.workflows_dir / addition.name}.", file=sys.stderr)
    for kept, what in ((files.kept_graph, "graph.json"), (files.kept_tables, "manifest.toml")):
        if kept:
            print(f"Kept what was changed in {what}.", file=sys.stderr)
    from handler.adding import lists

    folder = args.lists or Path(__file__).resolve().parents[2]
    _rewrite(folder / "models.txt", lambda t: lists.with_models(t, addition.name, addition.models))
    _rewrite(
        folder / "node_packs.txt", lambda t: lists.with_packs(t, addition.name, addition.packs)
    )
    return 0


def _installed(settings: Settings, names: list[str]) -> Installed:
    from comfyui_runtime.in_process import comfy
    from comfyui_runtime.in_process.boot import boot
    from comfyui_runtime.workflow.editor import parse_definitions
    from handler.adding.installed import Installed
    from handler.adding.packs import read_manager_map
    from handler.job.start import boot_options

    boot(boot_options(settings))
    return Installed(
        definitions=parse_definitions(comfy.node_definitions(names)),
        paid=comfy.paid_class_names(settings.comfyui_dir),
        manager_map=read_manager_map(settings.comfyui_base_dir / "custom_nodes"),
        failures={name: reason for name in names if (reason := comfy.load_failure(name))},
    )


def _rewrite(path: Path, change: Callable[[str], str]) -> None:
    old = path.read_text() if path.exists() else ""
    new = change(old)
    if new != old:
        path.write_text(new)
        print(f"Added to {path.name}.", file=sys.stderr)
