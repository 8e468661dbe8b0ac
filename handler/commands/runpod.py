"""``runpod``: the RunPod worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handler.commands.options import add_device_option, settings_of

if TYPE_CHECKING:
    import argparse


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "runpod",
        help="take jobs from a RunPod endpoint",
        description="Boot ComfyUI, then take jobs. Options of the RunPod SDK, such as "
        "--test_input and --rp_serve_api, are passed on to it.",
    )
    add_device_option(parser)
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Take jobs until the platform stops the worker, or the worker is broken."""
    from handler.platforms.runpod import run_worker

    return run_worker(settings_of(args))
