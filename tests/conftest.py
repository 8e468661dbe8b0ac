"""The real ComfyUI on the CPU, booted once per session, with all node packs of this repository."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from fault_table import marked_faults, write
from hypothesis import settings
from places import PROJECT, TESTS
from platforms_support.server_process import start_server  # noqa: F401

from bench.stock_server import stock_server
from comfyui_runtime.in_process.boot import BootReport, boot
from comfyui_runtime.in_process.comfy.node_index import (
    INDEX_FILE,
    digest_of_comfyui,
    digest_of_environment,
    digest_of_pack,
)
from comfyui_runtime.in_process.options import BootOptions
from comfyui_runtime.in_process.runtime import InProcessRuntime
from comfyui_runtime.workflow.images import PixelImage

# What a ComfyUI release must pass to be called proved.
CONTRACT = tuple(
    TESTS / name
    for name in (
        "comfyui_runtime/in_process",
        "comfyui_runtime/remote",
        "ghibli_classic/test_graph.py",
        "test_illustrate.py",
        "wd14_tags",
    )
)

OBSERVE = "comfyui_runtime.in_process.observe_nodes"
NODE_PACKS = (PROJECT / "node_packs", TESTS / "node_packs")

# How long an example takes on a busy machine says nothing about the code.
settings.register_profile("project", deadline=None)
settings.load_profile("project")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(item.path.is_relative_to(part) for part in CONTRACT):
            item.add_marker(pytest.mark.contract)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-fault-table",
        action="store_true",
        help="write the table of faults in docs/reliability.md, if every marked test passes",
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    if not config.getoption("write_fault_table") or hasattr(config, "workerinput"):
        return
    reporter = config.pluginmanager.getplugin("terminalreporter")
    passed = {_function_of(report.nodeid) for report in reporter.stats.get("passed", [])}
    other = [
        _function_of(report.nodeid)
        for outcome in ("failed", "error", "skipped")
        for report in reporter.stats.get(outcome, [])
    ]
    faults = marked_faults()
    not_proved = [row for row in faults if (row.file, row.test) not in passed.difference(other)]
    if not_proved:
        names = ", ".join(row.test for row in not_proved)
        raise pytest.UsageError(f"The table is not written; not proved: {names}")
    write(faults)


def _function_of(nodeid: str) -> tuple[str, str]:
    names = nodeid.partition("[")[0].split("::")
    return names[0], names[-1]


@dataclass(frozen=True)
class CallerState:
    """What a start of ComfyUI must leave as it was."""

    argv: list[str]
    folder: str
    handlers: list[logging.Handler]
    level: int
    signals: dict[int, object]
    excepthook: object
    listening: frozenset[str]


def caller_state() -> CallerState:
    root = logging.getLogger()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    return CallerState(
        list(sys.argv),
        str(Path.cwd()),
        list(root.handlers),
        root.level,
        {number: signal.getsignal(number) for number in numbers},
        sys.excepthook,
        listening_sockets(),
    )


def listening_sockets() -> frozenset[str]:
    """The sockets of this process on which connections are accepted."""
    listening = "0A"
    own = set()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            own.add(str(path.readlink()))
    inodes = {
        line.split()[9]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]
        if line.split()[3] == listening
    }
    return frozenset(own & {f"socket:[{inode}]" for inode in inodes})


@dataclass(frozen=True)
class Booted:
    runtime: InProcessRuntime
    report: BootReport
    before: CallerState
    after: CallerState
    base_dir: Path


def install_node_packs(base_dir: Path) -> None:
    """Put the project's own node packs and those of the tests into ``custom_nodes``."""
    for folder in NODE_PACKS:
        shutil.copytree(folder, base_dir / "custom_nodes", dirs_exist_ok=True)


def index_nodes(comfyui_dir: Path, base_dir: Path) -> None:
    """Give a folder a node index, as provisioning does; one is made once for the same sources."""
    (base_dir / "custom_nodes").mkdir(parents=True, exist_ok=True)
    packs = sorted((base_dir / "custom_nodes").iterdir())
    parts = (digest_of_comfyui(comfyui_dir), digest_of_environment(), *map(digest_of_pack, packs))
    made = Path(tempfile.gettempdir()) / f"test-node-index-{'-'.join(part[:8] for part in parts)}"
    if not made.is_file():
        subprocess.run(
            [sys.executable, "-m", OBSERVE, str(comfyui_dir), str(base_dir)],
            cwd=PROJECT,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            capture_output=True,
            check=True,
            timeout=240,
        )
        shutil.copy(base_dir / INDEX_FILE, made)
    shutil.copy(made, base_dir / INDEX_FILE)


@pytest.fixture(scope="session")
def comfyui_dir() -> Path:
    return Path(os.environ.get("COMFYUI_DIR", PROJECT / ".comfyui" / "src" / "ComfyUI"))


@pytest.fixture(scope="session")
def booted(tmp_path_factory, comfyui_dir) -> Booted:
    base_dir = tmp_path_factory.mktemp("base")
    install_node_packs(base_dir)
    index_nodes(comfyui_dir, base_dir)
    options = BootOptions(
        comfyui_dir=comfyui_dir,
        base_dir=base_dir,
        device="cpu",
        previews=True,
        stop_grace=1.0,
    )
    before = caller_state()
    with warnings.catch_warnings():
        # What ComfyUI's imports warn of is not this project's to mend.
        warnings.simplefilter("ignore")
        runtime, report = boot(options)
    return Booted(runtime, report, before, caller_state(), base_dir)


@pytest.fixture(scope="session")
def runtime(booted) -> InProcessRuntime:
    return booted.runtime


@pytest.fixture(scope="session")
def server_base_dir(tmp_path_factory) -> Path:
    base_dir = tmp_path_factory.mktemp("server")
    install_node_packs(base_dir)
    return base_dir


@pytest.fixture(scope="session")
def server_url(comfyui_dir, server_base_dir):
    """Address of ComfyUI's own server, which runs as a child process."""
    with stock_server(comfyui_dir, server_base_dir) as server:
        yield server.url


@pytest.fixture
def photo() -> PixelImage:
    """A picture of 64 x 48 pixels that no other test has."""
    rng = np.random.default_rng()
    return PixelImage(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
