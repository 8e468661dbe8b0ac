"""ComfyUI's own server as a child process, started as server-based workers start it."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import requests

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_POLL_EVERY = 0.02
_STOP_WITHIN = 20.0


@dataclass(frozen=True)
class StockServer:
    """A running server.

    Attributes:
        url: Its address.
        process_id: Its process id.
        ready_seconds: Seconds from process start to the first answer.
    """

    url: str
    process_id: int
    ready_seconds: float


class StockServerError(Exception):
    """The server did not start; the message is the end of its log."""


@contextlib.contextmanager
def stock_server(
    comfyui_dir: Path,
    base_dir: Path,
    *,
    ready_within: float = 240.0,
    program: tuple[str, ...] = ("main.py",),
    environment: Mapping[str, str] | None = None,
) -> Iterator[StockServer]:
    """Run ``main.py`` on the CPU, and yield the server once it answers.

    Args:
        comfyui_dir: The folder with ``main.py``.
        base_dir: Folder with ``models`` and ``custom_nodes``, and for inputs and results.
        ready_within: Seconds to wait for the first answer.
        program: What Python runs with ``main.py``'s options, in place of that file.
        environment: Its variables; this process's without it.

    Raises:
        StockServerError: It exited, or did not answer in time.
    """
    for name in ("models", "custom_nodes", "input", "output", "temp", "user", "web"):
        (base_dir / name).mkdir(parents=True, exist_ok=True)
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    started = time.perf_counter()
    with (
        tempfile.TemporaryFile() as log,
        _process(comfyui_dir, base_dir, port, log.fileno(), program, environment) as process,
    ):
        give_up_at = time.monotonic() + ready_within
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > give_up_at:
                log.seek(0)
                raise StockServerError(log.read().decode(errors="replace")[-2000:])
            time.sleep(_POLL_EVERY)
        yield StockServer(url, process.pid, time.perf_counter() - started)


@contextlib.contextmanager
def _process(  # noqa: PLR0913, PLR0917 - what a process is started with
    comfyui_dir: Path,
    base_dir: Path,
    port: int,
    log: int,
    program: tuple[str, ...],
    environment: Mapping[str, str] | None,
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [
            sys.executable,
            *program,
            "--cpu",
            "--disable-api-nodes",
            "--listen=127.0.0.1",
            f"--port={port}",
            f"--base-directory={base_dir}",
            # Without these it looks for its frontend and writes a database beside its source.
            f"--front-end-root={base_dir / 'web'}",
            "--database-url=sqlite:///:memory:",
        ],
        cwd=comfyui_dir,
        env=environment,
        stdout=log,
        stderr=log,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/system_stats", timeout=5).ok
    except requests.ConnectionError:
        return False


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
