"""Options that several commands share."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

    from handler.settings import Settings


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """Declare ``--cpu``."""
    parser.add_argument(
        "--cpu", action="store_true", help="run on the CPU (else a CUDA GPU is required)"
    )


def add_request_options(parser: argparse.ArgumentParser) -> None:
    """Declare ``--workflow``, ``--param`` and ``--format``; :func:`request_of` reads them."""
    parser.add_argument("--workflow", help="name of the workflow")
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="parameter; VALUE is read as JSON where it is JSON, else as text",
    )
    parser.add_argument("--format", choices=["png", "webp", "jpeg"], help="format of the result")


def request_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return the part of an event's ``input`` that the shared options describe.

    Raises:
        EventError: A parameter is not NAME=VALUE.
    """
    job_input: dict[str, Any] = {"params": dict(_param(text) for text in args.param)}
    if args.workflow:
        job_input["workflow"] = args.workflow
    if args.format:
        job_input["output"] = {"format": args.format}
    return job_input


def settings_of(args: argparse.Namespace) -> Settings:
    """Read the settings, with the command line's wishes over the environment's, and set up logs.

    Raises:
        ConfigurationError: A value cannot work.
    """
    from handler.log import configure_logging
    from handler.settings import load_settings

    overrides = {"device": "cpu"} if getattr(args, "cpu", False) else {}
    settings = load_settings(**overrides)
    configure_logging(settings)
    return settings


def _param(text: str) -> tuple[str, Any]:
    from handler.contract.errors import EventError

    name, separator, value = text.partition("=")
    if not separator:
        raise EventError(f"--param takes NAME=VALUE, not {text!r}.")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value
