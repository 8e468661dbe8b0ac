"""Which process of which machine a worker is, so that its successor sees at once that it died."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE = Path("/proc/self/ns/pid")
_START_TIME_FIELD = 22  # https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html


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
