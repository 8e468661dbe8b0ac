"""``python -m handler``."""

from __future__ import annotations

import sys

from handler.cli import main
from handler.process_end import leave

# These log on standard error and print no result, so that what C code writes belongs in the log.
_SERVING = frozenset({"serve", "runpod"})


def run() -> int:
    """Run the command line as a process of its own."""
    if _SERVING.intersection(sys.argv[1:2]):
        from comfyui_runtime.in_process.descriptors import guard_descriptors

        guard_descriptors()
    return main()


if __name__ == "__main__":
    leave(run())
