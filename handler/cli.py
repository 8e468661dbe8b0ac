"""The command line. Importing it is cheap: each command imports what it needs when it runs."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from handler.commands import (
    add,
    batch,
    check,
    health,
    run,
    runpod,
    schema,
    serve,
    settings,
    workflows,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SCRIPT = "comfyui-function"
# What commands import beyond the dependencies, and the extra of pyproject.toml that brings it.
_EXTRA_WITH = {
    "fastapi": "http",
    "httptools": "http",
    "prometheus_client": "http",
    "starlette": "http",
    "uvicorn": "http",
    "requests": "server",
    "websocket": "server",
    "runpod": "runpod",
}
_COMMANDS = (run, batch, runpod, serve, add, workflows, schema, settings, check, health)


def main(argv: Sequence[str] | None = None, *, prepare: Callable[[str], None] | None = None) -> int:
    """Run a command and return the exit status: 0 done, 1 failed, 2 wrong usage.

    Args:
        prepare: Called with the command's name before it is carried out.
    """
    parser = argparse.ArgumentParser(
        prog=_program(),
        description="ComfyUI in-process as a serverless function: a photo in, a picture's URL out.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_parser(subparsers)
    # Options that a command does not know are the RunPod SDK's, which reads sys.argv itself.
    args, unknown = parser.parse_known_args(argv)
    if unknown and args.command != "runpod":
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if prepare is not None:
        prepare(args.command)
    return _execute(args)


class _Version(argparse.Action):
    """Shows the installed version, which is looked up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(version("serverless-comfyui"))
        parser.exit()


def _program() -> str:
    called = Path(sys.argv[0]).stem
    return called if called == _SCRIPT else "python -m handler"


def _execute(args: argparse.Namespace) -> int:
    from comfyui_runtime.errors import ServiceError

    try:
        status: int = _with_extras(args)
    except ServiceError as error:
        body = {"code": error.code, "message": error.message, "details": error.details}
        print(json.dumps({"error": body}, indent=2, ensure_ascii=False), file=sys.stderr)
        return 1
    return status


def _with_extras(args: argparse.Namespace) -> int:
    try:
        status: int = args.execute(args)
    except ModuleNotFoundError as error:
        extra = _EXTRA_WITH.get(str(error.name).partition(".")[0])
        if extra is None:
            raise
        from handler.contract.errors import ConfigurationError

        raise ConfigurationError(
            f"{error.name} is not installed. Run pip install 'serverless-comfyui[{extra}]'.",
            extra=extra,
        ) from error
    return status
