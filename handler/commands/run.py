"""``run``: one event, from a file or from arguments, on this machine."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from comfyui_runtime.in_process.descriptors import standard_output
from handler.commands.options import (
    add_device_option,
    add_request_options,
    request_of,
    settings_of,
)

if TYPE_CHECKING:
    import argparse

    from handler.contract.progress import JobProgress, OnJobProgress
    from handler.contract.response import Response

_EVENT_OPTIONS = ("workflow", "image", "file", "param", "format", "id")
# What follows the sign is more than the padding at the end of base64.
_NAMED = re.compile(r"([A-Za-z_][\w-]*)=(.*[^=].*)", re.DOTALL)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "run",
        help="run one event and print the response",
        description="Run one event: from a file, or put together from the options. The response "
        "goes to standard output as JSON; the status is 1 if the job failed.",
    )
    parser.add_argument("event", nargs="?", help="file with an event in JSON; - for standard input")
    add_request_options(parser)
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="[NAME=]SOURCE",
        help="photo: a file, or whatever an event's image may be; may be repeated with names",
    )
    parser.add_argument(
        "--file",
        action="append",
        default=[],
        metavar="NAME=SOURCE",
        help="video, sound or other file: a file, or whatever an event's file may be; may be "
        "repeated",
    )
    parser.add_argument("--id", help="job id (the result's place follows from it)")
    add_device_option(parser)
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the event."""
    event = event_of(args)
    # Whoever starts a process here may run any graph in it.
    settings = settings_of(args).with_trusted_callers()
    from comfyui_runtime.errors import ServiceError
    from handler.contract.job_id import job_id_of
    from handler.contract.response import Success, failure
    from handler.contract.worker_comfyui import shape_of
    from handler.job.request import needs_runtime, read_request

    job_id = job_id_of(event)
    try:
        # ComfyUI takes seconds to start: not for an event that cannot be carried out.
        request = None if needs_runtime(event) else read_request(event, job_id, settings)
    except ServiceError as error:
        _print(failure(job_id, error).shaped(shape_of(event)))
        return 1

    from handler.job.start import start

    function = start(settings)
    if request is None:
        response = function.answer(event)
    else:
        with _ProgressBar() as progress:
            response = function.invoke(request, on_progress=progress)
    _print(response)
    return 0 if isinstance(response, Success) else 1


def _print(response: Response) -> None:
    from handler.contract.answer import answer_of

    text = json.dumps(answer_of(response), indent=2, ensure_ascii=False)
    print(text, file=standard_output(), flush=True)


def event_of(args: argparse.Namespace) -> object:
    """Return the event that the arguments describe.

    Raises:
        EventError: The file cannot be read as JSON, an argument is not NAME=VALUE, or the
            arguments contradict each other.
    """
    if args.event is not None:
        return _event_in_file(args)
    job_input = {**request_of(args), "images": _images(args.image)}
    if args.file:
        job_input["files"] = dict(_file(text) for text in args.file)
    return {"input": job_input} | ({"id": args.id} if args.id else {})


def _event_in_file(args: argparse.Namespace) -> object:
    from handler.contract.errors import EventError
    from handler.inputs.local_images import read_local_file

    options = [f"--{name}" for name in _EVENT_OPTIONS if getattr(args, name)]
    if options:
        raise EventError(
            f"Give an event file or {', '.join(options)}, not both: change the event in the file."
        )
    name = "standard input" if args.event == "-" else args.event
    data = sys.stdin.buffer.read() if args.event == "-" else read_local_file(Path(args.event))
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise EventError(f"{name} is not JSON: {error}.") from error


def _images(texts: list[str]) -> dict[str, str]:
    from handler.contract.errors import EventError

    images: dict[str, str] = {}
    for text in texts:
        name, source = _image(text)
        if name in images:
            raise EventError(
                f'With these options two images are named "{name}": name them, as NAME=SOURCE.'
            )
        images[name] = source
    return images


def _image(text: str) -> tuple[str, str]:
    """Return name and source; a file on this machine becomes a data URI, as a caller sends it."""
    from handler.inputs.local_images import inline_local_image, is_local_file

    named = None if is_local_file(text) else _NAMED.fullmatch(text)
    name, source = named.groups() if named else ("image", text)
    return name, inline_local_image(source)


def _file(text: str) -> tuple[str, str]:
    from handler.contract.errors import EventError
    from handler.inputs.local_images import inline_local_image

    named = _NAMED.fullmatch(text)
    if named is None:
        raise EventError("--file takes NAME=SOURCE.")
    return named[1], inline_local_image(named[2])


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
