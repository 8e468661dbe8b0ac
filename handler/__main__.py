"""``python -m handler``, and the script ``comfyui-function``."""

from __future__ import annotations

import os
import sys
import traceback
from typing import NoReturn

from handler.cli import main
from handler.process_end import leave

# These log on standard error and print no result, so that what C code writes belongs in the log.
_SERVING = frozenset({"serve", "runpod"})
_INTERRUPTED = 130  # as shells report it


def main_process() -> NoReturn:
    """Run the command line and end the process with its status, however it ended."""
    try:
        status = run()
    except KeyboardInterrupt:
        status = _INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output, such as head, has enough. Nothing more can be written to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except Exception:  # noqa: BLE001 - reported as Python does; only the process's end has a limit
        traceback.print_exc()
        status = 1
    leave(status)


def run() -> int:
    """Run the command line as a process of its own."""
    if _SERVING.intersection(sys.argv[1:2]):
        from comfyui_runtime.in_process.descriptors import guard_descriptors

        guard_descriptors()
    return main()


if __name__ == "__main__":
    main_process()
