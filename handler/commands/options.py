"""Options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from handler.settings import Settings


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """Declare ``--cpu``."""
    parser.add_argument(
        "--cpu", action="store_true", help="run on the CPU (else a CUDA GPU is required)"
    )


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
