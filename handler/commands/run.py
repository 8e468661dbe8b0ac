"""``run``: one event, from a file or from arguments, on this machine."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handler.commands.options import add_device_option, settings_of

if TYPE_CHECKING:
    import argparse

    from handler.job_progress import JobProgress, OnJobProgress


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "run",
        help="run one event and print the response",
        description="Run one event: from a file, or put together from the options. The response "
        "goes to standard output as JSON; the status is 1 if the job failed.",
    )
    parser.add_argument("event", nargs="?", help="file with an event in JSON; - for standard input")
    parser.add_argument("--workflow", help="name of the workflow")
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="[NAME=]SOURCE",
        help="photo: a file, or whatever an event's image may be; may be repeated with names",
    )
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="parameter; VALUE is read as JSON where it is JSON, else as text",
    )
    parser.add_argument("--format", choices=["png", "webp", "jpeg"], help="format of the result")
    parser.add_argument("--id", help="job id (the result's place follows from it)")
    add_device_option(parser)
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the event."""
    event = event_of(args)
    settings = settings_of(args)
    from handler.response import Success
    from handler.start import start

    function = start(settings)
    with _ProgressBar() as progress:
        response = function.invoke(event, on_progress=progress)
    print(json.dumps(response.to_json(), indent=2, ensure_ascii=False))
    return 0 if isinstance(response, Success) else 1


def event_of(args: argparse.Namespace) -> object:
    """Return the event that the arguments describe.

    Raises:
        EventError: The file cannot be read as JSON, or an argument is not NAME=VALUE.
    """
    from handler.errors import EventError

    if args.event is not None:
        text = sys.stdin.read() if args.event == "-" else _read(args.event)
        try:
            return json.loads(text)
        except ValueError as error:
            raise EventError(f"{args.event} is not JSON: {error}.") from error
    job_input: dict[str, Any] = {
        "images": dict(_image(text) for text in args.image),
        "params": dict(_param(text) for text in args.param),
    }
    if args.workflow:
        job_input["workflow"] = args.workflow
    if args.format:
        job_input["output"] = {"format": args.format}
    return {"input": job_input} | ({"id": args.id} if args.id else {})


def _read(path: str) -> str:
    from handler.errors import EventError

    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise EventError(f"The event cannot be read: {error}.") from error


def _image(text: str) -> tuple[str, str]:
    """Return name and source; a file on this machine becomes a data URI, as a caller sends it."""
    name, separator, source = text.partition("=")
    if not separator or not name.isidentifier():
        name, source = "image", text
    path = Path(source)
    if "://" not in source and not source.startswith("data:") and path.is_file():
        data = base64.b64encode(path.read_bytes()).decode()
        source = f"data:application/octet-stream;base64,{data}"
    return name, source


def _param(text: str) -> tuple[str, Any]:
    from handler.errors import EventError

    name, separator, value = text.partition("=")
    if not separator:
        raise EventError(f"--param takes NAME=VALUE, not {text!r}.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


class _ProgressBar:
    """A bar on standard error where that is a terminal."""

    def __enter__(self) -> OnJobProgress:
        from tqdm import tqdm

        bar = self._bar = tqdm(
            total=100,
            bar_format="{l_bar}{bar}| {elapsed} {desc}",
            disable=not sys.stderr.isatty(),
            leave=False,
        )

        def report(progress: JobProgress) -> None:
            step = f" {progress.step}/{progress.steps}" if progress.steps > 1 else ""
            bar.set_description_str(f"{progress.node or progress.phase}{step}", refresh=False)
            bar.n = round(progress.fraction * 100)
            bar.refresh()

        return report

    def __exit__(self, *_: object) -> None:
        self._bar.close()
