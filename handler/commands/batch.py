"""``batch``: a list of events or a folder of photos, done to its end."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import sys
import threading
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NoReturn, Self

from comfyui_runtime.in_process.descriptors import standard_output
from handler.commands.options import (
    add_device_option,
    add_request_options,
    request_of,
    settings_of,
)

if TYPE_CHECKING:
    import argparse
    from types import FrameType

    from tqdm import tqdm

    from handler.batch.run import BatchOptions, BatchProgress

DONE = 0
SOME_FAILED = 1
INCOMPLETE = 75  # EX_TEMPFAIL of sysexits.h: the same command again goes on
_LOG_EVERY = 30.0
# Progress is reported once before ComfyUI starts and once after; a rate has no meaning before that.
_CALLS_BEFORE_WORK = 2

log = logging.getLogger(__name__)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "batch",
        help="run a list of events or a folder of photos",
        description="Run every event of a list, or every photo of a folder. What is done is not "
        "done again by the next run, whichever way this one ends; several workers may share one "
        "list. A report goes to standard output as JSON.",
        epilog="Status: 0 all jobs succeeded; 1 all are done and some failed, or nothing could be "
        "started; 75 some are left, and the same command goes on with them.",
    )
    parser.add_argument(
        "input",
        help="list of events (.jsonl, one per line), or folder of photos; a path or s3://bucket/key",
    )
    parser.add_argument(
        "--results",
        required=True,
        metavar="FILE",
        help="ledger of jobs done: a file, one line of JSON per job; or s3://bucket/prefix",
    )
    add_request_options(parser)
    parser.add_argument("--prefix", help="folder put before the results' keys, for photos")
    parser.add_argument("--shard", metavar="I/N", help="do only share I, from 0 to N-1, of N")
    parser.add_argument(
        "--attempts",
        type=int,
        default=3,
        metavar="N",
        help="tries of a job whose failure may pass (default %(default)s)",
    )
    parser.add_argument(
        "--retry-failed", action="store_true", help="do again what failed in an earlier run"
    )
    parser.add_argument(
        "--lease",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="silence after which another worker counts as dead (default %(default)g)",
    )
    add_device_option(parser)
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the batch."""
    # Whoever starts a batch may run any graph in it.
    settings = settings_of(args).with_trusted_callers()
    options = _options(args)
    from comfyui_runtime.errors import BootError, ServiceError
    from handler.batch.run import run_batch

    stop = threading.Event()
    _set_at_first_signal(stop)
    try:
        with _Display() as display:
            end, report = run_batch(settings, options, stop, display.show)
    except ServiceError as error:
        if not (error.retryable or isinstance(error, BootError)):
            raise
        body = {"code": error.code, "message": error.message, "details": error.details}
        print(json.dumps({"error": body}, indent=2, ensure_ascii=False), file=sys.stderr)
        return INCOMPLETE
    text = json.dumps(report.model_dump(mode="json"), indent=2, ensure_ascii=False)
    print(text, file=standard_output(), flush=True)
    if end != "done":
        return INCOMPLETE
    return SOME_FAILED if report.failed else DONE


def _options(args: argparse.Namespace) -> BatchOptions:
    from handler.batch.jobs import Shard
    from handler.batch.run import BatchOptions
    from handler.contract.errors import ConfigurationError

    if args.attempts < 1 or not args.lease > 0:
        raise ConfigurationError("--attempts has to be 1 or more, and --lease more than 0.")
    job_input: dict[str, Any] = {name: value for name, value in request_of(args).items() if value}
    if args.prefix:
        job_input["output"] = {**job_input.get("output", {}), "prefix": args.prefix}
    return BatchOptions(
        place=args.input,
        results=args.results,
        job_input=job_input,
        shard=Shard.parse(args.shard) if args.shard else None,
        attempts=args.attempts,
        retry_failed=args.retry_failed,
        lease=args.lease,
    )


def _set_at_first_signal(stop: threading.Event) -> None:
    """Stop in good order at the first signal; the second one has its usual effect."""
    usual = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def ask(number: int, _: FrameType | None) -> None:
        stop.set()
        for other, handler in usual.items():
            signal.signal(other, handler)
        log.info("stopping", extra={"signal": signal.Signals(number).name})

    for number in usual:
        signal.signal(number, ask)


class _Display:
    """A bar with rate and time left where standard error is a terminal, else log records."""

    def __init__(self) -> None:
        self._on_terminal = sys.stderr.isatty()
        self._open = contextlib.ExitStack()
        self._bar: tqdm[NoReturn] | None = None
        self._times_shown = 0
        self._done_before = 0
        self._started_at = self._logged_at = time.monotonic()

    def __enter__(self) -> Self:
        if self._on_terminal:
            from tqdm.contrib.logging import logging_redirect_tqdm

            self._open.enter_context(logging_redirect_tqdm())
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def show(self, progress: BatchProgress) -> None:
        """Show how far the batch is."""
        self._times_shown += 1
        if self._times_shown <= _CALLS_BEFORE_WORK:
            self._done_before, self._started_at = progress.done, time.monotonic()
        if self._on_terminal:
            self._draw(progress)
        else:
            self._log(progress)

    def _draw(self, progress: BatchProgress) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = self._open.enter_context(
                tqdm(total=progress.jobs, initial=progress.done, unit="job", dynamic_ncols=True)
            )
        if self._times_shown == _CALLS_BEFORE_WORK:
            self._bar.unpause()
        self._bar.n = progress.done
        self._bar.set_postfix(failed=progress.failed)

    def _log(self, progress: BatchProgress) -> None:
        now = time.monotonic()
        if now - self._logged_at < _LOG_EVERY:
            return
        self._logged_at = now
        seconds = now - self._started_at
        rate = (progress.done - self._done_before) / seconds if seconds else 0.0
        left = round((progress.jobs - progress.done) / rate) if rate else None
        speed = {"jobs_per_second": round(rate, 4), "seconds_left": left}
        log.info("batch progress", extra={**asdict(progress), **speed})
