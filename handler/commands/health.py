"""``health``: whether the worker's process lives, asked of the process itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from handler.settings import Settings

_TIMEOUT = 10.0


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "health",
        help="ask the running worker whether it lives",
        description="Ask the worker of this machine: by its liveness file where it takes jobs from "
        "RunPod, else by GET /health on PORT. The status is 1 if it does not answer, or is beyond "
        "repair. For HEALTHCHECK and its like.",
    )
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Ask, and print the answer."""
    del args
    from handler.liveness import is_live
    from handler.settings import load_settings

    beats = is_live()
    if beats is not None:
        print("running" if beats else "no sign of life for a minute")
        return 0 if beats else 1
    stage = _stage(load_settings())
    print(stage or "no answer")
    return 0 if stage in {"booting", "running", "stopping"} else 1


def _stage(settings: Settings) -> str | None:
    import http.client
    import json

    host = settings.listen_address
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - only compared
    connection = http.client.HTTPConnection(host, settings.port, timeout=_TIMEOUT)
    try:
        connection.request("GET", "/health")
        return str(json.load(connection.getresponse()).get("stage"))
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()
