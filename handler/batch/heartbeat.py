"""Heartbeats: how a worker shows that it lives, and what is on its device."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from comfyui_runtime.errors import ServiceError

if TYPE_CHECKING:
    from handler.shelf import Shelf

_BEATS_PER_LEASE = 4
# A job that is off the device sooner is not worth a beat of its own.
_SETTLING_SECONDS = 0.1
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE = Path("/proc/self/ns/pid")
_START_TIME_FIELD = 22  # https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html

log = logging.getLogger(__name__)


class Heartbeat:
    """This worker's heartbeat, and this worker's view of the others'.

    Args:
        shelf: Shared by all workers.
        prefix: Of the heartbeats' keys; ends in a slash.
        lease: Seconds without a beat after which this worker counts as dead.
    """

    def __init__(self, shelf: Shelf, prefix: str, lease: float) -> None:
        self.worker = f"{socket.gethostname()}-{uuid.uuid4().hex[:12]}"
        self.job: str | None = None
        self._shelf = shelf
        self._prefix = prefix
        self._lease = lease
        self._process = own_identity()
        self._seen: dict[str, _Seen] = {}
        self._closing = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Beat from now on.

        Raises:
            StorageError: The shelf cannot be written to.
        """
        self.beat(0)
        self._thread.start()

    def close(self) -> None:
        """Beat no more."""
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(self._lease)

    def name_job(self, job: str) -> None:
        """Name the job on the device, with a beat soon. Returns at once."""
        if job != self.job:
            self.job = job
            self._wake.set()

    def job_of(self, worker: str) -> str | None:
        """Return what was last on a worker's device, as far as it told.

        Raises:
            StorageError: The shelf cannot be read.
        """
        data = self._shelf.get(self._key(worker))
        return None if data is None else _Beat.model_validate_json(data).on_device

    def has_stopped(self, worker: str) -> bool:
        """Say whether a worker is dead.

        Its process is gone from this machine, or its heartbeat has not changed for a whole lease by
        this worker's clock.

        Raises:
            StorageError: The shelf cannot be read.
        """
        data = self._shelf.get(self._key(worker))
        heartbeat = None
        if data is not None:
            heartbeat = _Beat.model_validate_json(data)
            if heartbeat.process is not None and heartbeat.process.is_gone:
                return True
        seen = self._seen.get(worker)
        if seen is None or seen.data != data:
            self._seen[worker] = _Seen(data, time.monotonic())
            return False
        lease = self._lease if heartbeat is None else heartbeat.lease
        return time.monotonic() - seen.since >= lease

    def beat(self, number: int) -> None:
        """Write one beat.

        Args:
            number: Another one than last time.

        Raises:
            StorageError: The shelf cannot be written to.
        """
        heartbeat = _Beat(beat=number, lease=self._lease, process=self._process, on_device=self.job)
        self._shelf.put(self._key(self.worker), heartbeat.model_dump_json().encode())

    def _beat_on(self) -> None:
        number = 0
        pause = self._lease / _BEATS_PER_LEASE
        settling = min(_SETTLING_SECONDS, pause / 2)
        while True:
            self._wake.wait(pause - settling)
            if self._closing.wait(settling):
                return
            self._wake.clear()
            number += 1
            try:
                self.beat(number)
            except ServiceError as error:
                log.warning("heartbeat not written", extra={"error": error.message})

    def _key(self, worker: str) -> str:
        return f"{self._prefix}workers/{worker or 'unknown'}"


class ProcessIdentity(BaseModel):
    """A process, told apart from every other one that there ever was.

    Attributes:
        machine: Start of the kernel and namespace of process numbers; a container is another
            machine than its host.
        pid: The process's number there.
        started: When it was started, in the kernel's ticks; numbers are used again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    machine: str
    pid: int
    started: int

    @property
    def is_gone(self) -> bool:
        """Whether the process has certainly ended; never true for one of another machine."""
        if self.machine != _machine():
            return False
        return _started(self.pid) != self.started


class _Beat(BaseModel):
    model_config = ConfigDict(frozen=True)

    beat: int
    lease: float
    process: ProcessIdentity | None
    on_device: str | None = None


@dataclass(frozen=True)
class _Seen:
    data: bytes | None
    since: float


def own_identity() -> ProcessIdentity | None:
    """Return this process's identity; ``None`` where the system does not tell it (not Linux)."""
    machine, started = _machine(), _started(os.getpid())
    if machine is None or started is None:
        return None
    return ProcessIdentity(machine=machine, pid=os.getpid(), started=started)


def _machine() -> str | None:
    try:
        return f"{_BOOT_ID.read_text().strip()}/{_PID_NAMESPACE.readlink()}"
    except OSError:
        return None


def _started(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The second field is the program's name in parentheses, which may hold spaces and more.
    after_name = text.rpartition(")")[2].split()
    return int(after_name[_START_TIME_FIELD - 3])
