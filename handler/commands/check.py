"""``check``: whether this installation works, and what to fix if not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handler.commands.options import add_device_option, settings_of

if TYPE_CHECKING:
    import argparse


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "check",
        help="check GPU, ComfyUI, node packs, models and storage",
        description="Check the installation and say what to fix. The status is 1 if something "
        "keeps the worker from its work.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="do not start ComfyUI, do not write to the storage"
    )
    parser.add_argument("--workflow", help="only what this workflow needs")
    add_device_option(parser)
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Print each finding."""
    settings = settings_of(args)
    from handler.commands.install_check import check_installation

    status = 0
    for finding in check_installation(settings, only=args.workflow, quick=args.quick):
        if finding.problem is None:
            print(f"ok    {finding.subject}", flush=True)
        else:
            word = "FAIL" if finding.fatal else "warn"
            print(f"{word}  {finding.subject}: {finding.problem}", flush=True)
            status = 1 if finding.fatal else status
    return status
