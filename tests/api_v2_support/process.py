"""``python -m handler serve`` as a process, for tests that kill it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from places import TESTS
from platforms_support.http_server import wait_until


@dataclass
class ServerProcess:
    url: str
    popen: subprocess.Popen[bytes]
    client: httpx.Client
    log: Path

    def stage(self) -> str | None:
        try:
            return self.client.get("/health").json()["stage"]
        except httpx.TransportError:
            return None

    def wait_for(self, stage: str) -> None:
        wait_until(lambda: self.stage() == stage, timeout=90)


@contextmanager
def server_process(folder: Path, comfyui_dir: Path, port: int | None = None, **settings: str):
    """Start a server whose results and records are below a folder."""
    base = folder / "base"
    if not base.exists():
        base.mkdir()
        (base / "custom_nodes").symlink_to(TESTS / "node_packs")
    if port is None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    environment = {
        **os.environ,
        "COMFYUI_DIR": str(comfyui_dir),
        "COMFYUI_BASE_DIR": str(base),
        "COMFYUI_DEVICE": "cpu",
        "CALLER_GRAPHS": "on",
        "WORKFLOWS_DIR": str(TESTS / "workflows"),
        "RESULTS_DIR": str(folder / "results"),
        "PORT": str(port),
        "PYTHONPATH": str(TESTS.parent),
        "PYTHONDONTWRITEBYTECODE": "1",
        **settings,
    }
    log = folder / "server.log"
    with log.open("ab") as output:
        popen = subprocess.Popen(
            [sys.executable, "-m", "handler", "serve"],
            env=environment,
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}"
    client = httpx.Client(base_url=url, timeout=60, trust_env=False, verify=False)
    try:
        yield ServerProcess(url, popen, client, log)
    finally:
        client.close()
        popen.kill()
        popen.wait(10)
