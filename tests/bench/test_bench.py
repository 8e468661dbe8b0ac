from __future__ import annotations

import json
import subprocess
import sys

import pytest
from places import PROJECT

from bench.rows import Row, Spread, markdown_table
from comfyui_runtime.in_process.comfy import read_source

pytestmark = pytest.mark.slow


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "bench", *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=PROJECT,
    )


def test_one_command_prints_a_table_and_writes_the_numbers(tmp_path, comfyui_dir):
    done = bench("encoding", "between_jobs", "--quick", f"--json={tmp_path / 'bench.json'}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("| measured | ours | compared with | ratio | goal |")
    report = json.loads((tmp_path / "bench.json").read_text())
    assert report["before"]["versions"]["comfyui"] == read_source(comfyui_dir).version
    assert {row["group"] for row in report["rows"]} == {"encoding, 1024 px", "between jobs"}
    assert all(row["ours"]["median"] > 0 for row in report["rows"])


def test_unknown_measurement_is_refused_with_the_list_of_those_that_are():
    done = bench("speed")
    assert done.returncode == 2
    assert "no such measurement: speed" in done.stderr


def test_row_shows_median_spread_and_ratio():
    row = Row(
        group="start",
        what="ready",
        unit="s",
        ours=Spread.of([2.0, 1.0, 4.0]),
        other=Spread.of([8.0]),
        compared_with="the other",
        goal="≤ 0.35",
    )
    assert markdown_table([row]).splitlines()[-1] == (
        "| start: ready | 2 s [1 to 4] | 8 s (the other) | 0.25 | ≤ 0.35 |"
    )
