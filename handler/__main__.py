"""``python -m handler``, and the script ``comfyui-function``."""

from __future__ import annotations

import traceback
from typing import NoReturn

from comfyui_runtime.in_process.descriptors import discard_output, guard_descriptors
from handler.cli import main
from handler.process_end import leave

# These log on standard error and print no result: what is printed comes from node packs.
_SERVING = frozenset({"serve", "runpod"})
# These print one JSON document, and nothing else may stand on standard output.
_PRINTING_JSON = frozenset({"run", "batch"})
_INTERRUPTED = 130  # as shells report it


def main_process() -> NoReturn:
    """Run the command line and end the process with its status, however it ended."""
    try:
        status = run()
    except KeyboardInterrupt:
        status = _INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output, such as head, has enough. Nothing more can be written to it.
        discard_output()
        status = 1
    except Exception:  # noqa: BLE001 - reported as Python does; only the process's end has a limit
        traceback.print_exc()
        status = 1
    leave(status)


def run() -> int:
    """Run the command line as a process of its own."""
    return main(prepare=_prepare)


def _prepare(command: str) -> None:
    """Guard descriptors 1 and 2 where node packs are about to be loaded."""
    if command in _SERVING | _PRINTING_JSON:
        guard_descriptors(keep_output_apart=command in _PRINTING_JSON)


if __name__ == "__main__":
    main_process()
