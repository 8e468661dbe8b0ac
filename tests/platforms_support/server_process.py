"""``python -m handler serve`` as a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from places import TESTS


@dataclass
class Process:
    popen: subprocess.Popen[bytes]
    client: httpx.Client
    log: Path

    def stage(self) -> str | None:
        try:
            return self.client.get("/health").json()["stage"]
        except httpx.TransportError:
            return None

    def ended(self) -> tuple[int, str]:
        return self.popen.wait(60), self.log.read_text()


@pytest.fixture
def start_server(comfyui_dir, tmp_path):
    """Start `serve` as a process of its own; settings are given as environment variables."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "custom_nodes").symlink_to(TESTS / "node_packs")
    processes = []

    def start(**settings: str) -> Process:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = {
            **os.environ,
            "COMFYUI_DIR": str(comfyui_dir),
            "COMFYUI_BASE_DIR": str(tmp_path / "base"),
            "COMFYUI_DEVICE": "cpu",
            "WORKFLOWS_DIR": str(TESTS / "workflows"),
            "RESULTS_DIR": str(tmp_path / "results"),
            "PORT": str(port),
            "PYTHONPATH": str(TESTS.parent),
            "PYTHONDONTWRITEBYTECODE": "1",
            **settings,
        }
        log = tmp_path / "server.log"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [sys.executable, "-m", "handler", "serve"],
                env=environment,
                cwd=tmp_path,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False, verify=False
        )
        processes.append(Process(popen, client, log))
        return processes[-1]

    yield start
    for process in processes:
        process.client.close()
        process.popen.kill()
        process.popen.wait(10)
