"""The command in a process of its own, killed in the middle and stopped in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from places import TESTS

from .conftest import lines

pytestmark = pytest.mark.slow

JOBS = 40


class Command:
    """``python -m handler batch`` under way."""

    def __init__(
        self, source: Path, folder: Path, comfyui_dir: Path, number: int, *options: str
    ) -> None:
        (folder / "base").mkdir(exist_ok=True)
        if not (folder / "base" / "custom_nodes").exists():
            (folder / "base" / "custom_nodes").symlink_to(TESTS / "node_packs")
        self.manifest = folder / "manifest.jsonl"
        self.log = folder / f"log-{number}"
        self._output = folder / f"output-{number}"
        environment = {
            **os.environ,
            "COMFYUI_DIR": str(comfyui_dir),
            "COMFYUI_BASE_DIR": str(folder / "base"),
            "WORKFLOWS_DIR": str(TESTS / "workflows"),
            "RESULTS_DIR": str(folder / "results"),
            "WORKER_CONCURRENCY": "2",
            "PYTHONPATH": str(TESTS.parent),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with self.log.open("wb") as log, self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "handler", "batch", str(source), "--cpu"),
                    *("--results", str(self.manifest)),
                    *options,
                ],
                env=environment,
                cwd=folder,
                stdout=output,
                stderr=log,
            )

    def wait_for_lines(self, count: int, timeout: float = 120) -> None:
        deadline = time.monotonic() + timeout
        while not self.manifest.exists() or self.manifest.read_bytes().count(b"\n") < count:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def wait(self) -> int:
        return self.process.wait(120)

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)

    @property
    def report(self) -> dict:
        return json.loads(self._output.read_text())

    def jobs_done(self) -> Counter[str]:
        """Count the jobs whose end the log tells."""
        records = map(json.loads, self.log.read_text().splitlines())
        return Counter(record["job_id"] for record in records if record["event"] == "job done")


@pytest.fixture
def source(event_list):
    events = [
        {
            "id": f"job-{number}",
            "input": {
                "workflow": "steps",
                "image": "photo.png",
                "params": {"steps": 5, "seconds": 0.03},
            },
        }
        for number in range(JOBS)
    ]
    return event_list(*events)


@pytest.mark.fault(
    "A batch is killed and stopped",
    "nothing is lost and nothing repeated",
)
def test_batch_that_was_killed_and_stopped_loses_nothing_and_repeats_nothing(
    source, tmp_path, comfyui_dir, batch
):
    killed = Command(source, tmp_path, comfyui_dir, 1)
    killed.wait_for_lines(5)
    killed.end(signal.SIGKILL)
    recorded = {line["id"] for line in lines(killed.manifest)}
    # What a death in the middle of a line leaves behind.
    with killed.manifest.open("ab") as manifest:
        manifest.write(b'{"id": "job-39", "sour')

    stopped = Command(source, tmp_path, comfyui_dir, 2)
    stopped.wait_for_lines(len(recorded) + 6)
    assert stopped.end(signal.SIGTERM) == 75
    report = stopped.report
    assert report["failed"] == 0
    assert report["left"] == JOBS - report["succeeded"] > 0
    assert recorded.isdisjoint(stopped.jobs_done())

    end, last = batch(source, stopped.manifest)
    assert (end, last.succeeded) == ("done", JOBS)
    assert len(batch.runs) == report["left"]
    whole = [line for line in stopped.manifest.read_bytes().splitlines() if line.endswith(b"}}")]
    ids = Counter(json.loads(line)["id"] for line in whole)
    assert ids == {f"job-{number}": 1 for number in range(JOBS)}
    # Only what was on the device when the process was killed is carried out again.
    again = killed.jobs_done() + stopped.jobs_done() + batch.runs
    assert sum(again.values()) <= JOBS + 3


@pytest.mark.fault(
    "A batch worker crashes",
    "only the job on the device is suspected",
)
def test_crash_counts_against_the_job_on_the_device_and_against_no_other(
    event_list, tmp_path, comfyui_dir
):
    """The job that ends the process comes first, so that others wait beside it each time."""
    job_input = {"image": "photo.png", "params": {"seconds": 0.3}}
    deadly = {"id": "deadly", "input": {"workflow": "die", **job_input}}
    innocent = {"workflow": "invert", "image": "photo.png"}
    source = event_list(
        deadly, *({"id": f"innocent-{number}", "input": innocent} for number in range(4))
    )
    statuses = []
    while not statuses or statuses[-1] == 9:
        command = Command(source, tmp_path, comfyui_dir, len(statuses), "--attempts", "2")
        statuses.append(command.wait())
    assert statuses == [9, 9, 1]
    recorded = {line["id"]: line for line in lines(command.manifest)}
    assert recorded.pop("deadly")["error"]["code"] == "job_crashes_workers"
    assert [line["status"] for line in recorded.values()] == ["succeeded"] * 4
    # The second time it was tried alone, when all others were done.
    logs = [(tmp_path / f"log-{number}").read_text().splitlines() for number in range(2)]
    done = Counter(
        record["job_id"]
        for record in map(json.loads, logs[0] + logs[1])
        if record["event"] == "job done"
    )
    assert set(done) == {f"innocent-{number}" for number in range(4)}
