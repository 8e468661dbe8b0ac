"""Batches run in the session's ComfyUI, with their manifest in a folder or in a bucket."""

from __future__ import annotations

import json
import threading
from collections import Counter
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import boto3
import pytest
from PIL import Image

from handler.batch.run import BatchOptions, BatchProgress, run_batch
from handler.settings import Settings

KEYS = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}


def png(colour: tuple[int, int, int] = (10, 200, 30)) -> bytes:
    file = BytesIO()
    Image.new("RGB", (16, 12), colour).save(file, "PNG")
    return file.getvalue()


@dataclass
class Runner:
    """Runs batches; ``runs`` counts how often each job was carried out."""

    make_function: object
    settings: Settings
    runs: Counter[str] = field(default_factory=Counter)
    progress: list[BatchProgress] = field(default_factory=list)

    def __call__(self, source, results, *, stop=None, settings=None, **options):
        end, report = run_batch(
            settings or self.settings,
            BatchOptions(str(source), str(results), **options),
            stop or threading.Event(),
            self.progress.append,
            self.start,
        )
        return end, report

    def start(self, settings: Settings):
        function = self.make_function(settings)
        carry_out = function.invoke

        def counted(request, cancellation=None, on_progress=None):
            self.runs[request.job_id] += 1
            return carry_out(request, cancellation, on_progress)

        function.invoke = counted
        return function


@pytest.fixture
def batch(make_function, local_settings) -> Runner:
    return Runner(make_function, local_settings)


@pytest.fixture
def event_list(tmp_path):
    """Write events to a file of JSON lines, with a photo beside it."""

    def write(*events: object, name: str = "events.jsonl") -> Path:
        (tmp_path / "photo.png").write_bytes(png())
        path = tmp_path / name
        path.write_text("".join(f"{json.dumps(event)}\n" for event in events))
        return path

    return write


@pytest.fixture
def s3(s3_url):
    client = boto3.client("s3", endpoint_url=s3_url, region_name="us-east-1", **KEYS)
    yield client
    client.close()


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
