"""Starts this project's function and prints when it was ready and when a first task was done.

``python -m bench.cold_child job EVENT_FILE`` runs an event; ``checkpoint`` imports what the first
graph with a checkpoint, a text encoder and a sampler imports.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from pathlib import Path

from bench.own_function import PROJECT, own_function
from handler.contract.response import Success

_MODULES = {"comfy.sd": "CLIP", "comfy.samplers": "KSampler", "comfy.controlnet": "ControlNet"}


def main(task: str, *arguments: str) -> None:
    """Print times of the monotonic clock, and processor time, as JSON."""
    event = json.loads(Path(arguments[0]).read_text()) if arguments else None
    with own_function(workflows=PROJECT / "workflows") as function:
        ready = time.monotonic()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        if task == "job":
            response = function.answer(event)
            if not isinstance(response, Success):
                sys.exit(response.error.message)
        else:
            for module, name in _MODULES.items():
                getattr(importlib.import_module(module), name)
        done = time.monotonic()
    marks = {"ready": ready, "ready_cpu": usage.ru_utime + usage.ru_stime, task: done}
    print(json.dumps(marks), flush=True)
    os._exit(0)  # nothing of the process is needed any more, and its exit is not measured


main(*sys.argv[1:])
