"""Starts this project's function and prints when it was ready and when a first task was done.

``python -m bench.cold_child BASE_DIR job EVENT_FILE`` runs an event; ``checkpoint`` imports what
the first graph with a checkpoint, a text encoder and a sampler imports; ``packs PACK ...`` imports
the packs, as a graph with a class of each does.
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
from comfyui_runtime.in_process.comfy import node_classes
from comfyui_runtime.in_process.comfy.node_index import read_node_index
from handler.contract.response import Success

_MODULES = {"comfy.sd": "CLIP", "comfy.samplers": "KSampler", "comfy.controlnet": "ControlNet"}


def main(base_dir: str, task: str, *arguments: str) -> None:
    """Print times of the monotonic clock, and processor time, as JSON."""
    event = json.loads(Path(arguments[0]).read_text()) if task == "job" else None
    base = Path(base_dir)
    with own_function(workflows=PROJECT / "workflows", base=base) as function:
        ready = time.monotonic()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        if task == "job":
            response = function.answer(event)
            if not isinstance(response, Success):
                sys.exit(response.error.message)
        elif task == "packs":
            index = read_node_index(base)
            for pack in arguments:
                if index is None or pack not in index.packs:
                    sys.exit(f"{pack} is in no index of {base}")
                node_classes()[index.packs[pack].classes[0]]
        else:
            for module, name in _MODULES.items():
                getattr(importlib.import_module(module), name)
        done = time.monotonic()
    marks = {"ready": ready, "ready_cpu": usage.ru_utime + usage.ru_stime, task: done}
    print(json.dumps(marks), flush=True)
    os._exit(0)  # nothing of the process is needed any more, and its exit is not measured


main(*sys.argv[1:])
