"""``serve``: the HTTP server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handler.commands.options import add_device_option, settings_of

if TYPE_CHECKING:
    import argparse


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "serve",
        help="answer HTTP requests",
        description="Answer HTTP requests on HOST:PORT until SIGTERM; ComfyUI starts meanwhile.",
    )
    add_device_option(parser)
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Serve until told to stop."""
    from handler.api_v2 import open_api_v2
    from handler.http import serve
    from handler.platforms.http_platforms import platform_routers, probe_routers

    return serve(settings_of(args), platform_routers(), probe_routers(), open_api_v2)
