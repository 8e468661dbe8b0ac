"""``python -m bench``: measure, print a table, write JSON."""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import tempfile
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from bench.machine import Machine, this_machine
from bench.rows import Row, markdown_table
from bench.scale import FULL, QUICK
from comfyui_runtime.in_process.comfy import read_source
from handler.settings import load_settings

MEASUREMENTS = (
    "cold_start",
    "per_job",
    "encoding",
    "between_jobs",
    "flatness",
    "models",
    "checkpoint",
    "endpoint",
)
_ROWS = TypeAdapter(list[Row])


class Report(BaseModel):
    """All measurements of one run.

    Attributes:
        before: The machine before the first measurement.
        after: The machine after the last one.
    """

    model_config = ConfigDict(frozen=True)

    before: Machine
    after: Machine
    rows: list[Row]


def main() -> None:
    """Run each measurement in its own process: ComfyUI starts only once per process."""
    args = _arguments()
    if args.here:
        measurement = importlib.import_module(f"bench.{args.measurements[0]}")
        rows = measurement.measure(QUICK if args.quick else FULL)
        Path(args.here).write_bytes(_ROWS.dump_json(rows))
        return
    version = read_source(load_settings().comfyui_dir).version
    before = this_machine(version)
    rows = [row for name in args.measurements for row in _measured(name, quick=args.quick)]
    report = Report(before=before, after=this_machine(version), rows=rows)
    args.json.write_text(report.model_dump_json(indent=1) + "\n")
    print(markdown_table(rows))
    print(
        f"\n{before.processor}, {before.cores} cores, {before.memory_gib} GiB; load average "
        f"{before.load_average} before, {report.after.load_average} after; median [least to most]."
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "measurements",
        nargs="*",
        default=MEASUREMENTS,
        help=f"what to measure; everything by default: {', '.join(MEASUREMENTS)}",
    )
    parser.add_argument(
        "--json", type=Path, default=Path("bench.json"), help="where to write the numbers"
    )
    parser.add_argument("--quick", action="store_true", help="only see whether it works")
    parser.add_argument("--here", help=argparse.SUPPRESS)
    args = parser.parse_args()
    unknown = set(args.measurements) - set(MEASUREMENTS)
    if unknown:
        parser.error(f"no such measurement: {', '.join(sorted(unknown))}")
    return args


def _measured(name: str, *, quick: bool) -> list[Row]:
    print(f"measuring {name} ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.json"
        command = [sys.executable, "-m", "bench", name, f"--here={path}"]
        subprocess.run(command + (["--quick"] if quick else []), check=True)
        return _ROWS.validate_json(path.read_bytes())


main()
