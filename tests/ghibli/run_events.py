"""Runs events one after the other in a process of its own, whose memory is free afterwards.

Reads a JSON list of events on standard input and writes one response a line on standard output.
The settings come from the environment; the log goes to standard error as JSON.
"""

from __future__ import annotations

import json
import sys

from handler.job.start import start
from handler.log import configure_logging
from handler.settings import load_settings


def main() -> None:
    events = json.load(sys.stdin)
    settings = load_settings()
    configure_logging(settings)
    function = start(settings)
    for event in events:
        sys.stdout.write(json.dumps(function.answer(event).to_json()) + "\n")


if __name__ == "__main__":
    main()
