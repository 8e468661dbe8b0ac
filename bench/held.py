"""What a process holds and has used, from Linux's ``/proc`` (proc(5))."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Held:
    """What this process holds at one moment.

    Attributes:
        memory: Resident bytes.
        threads: Number of threads.
        descriptors: Open files and sockets.
    """

    memory: int
    threads: int
    descriptors: int


def held() -> Held:
    """Return what this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Held(
        memory=pages * os.sysconf("SC_PAGE_SIZE"),
        threads=len(list(Path("/proc/self/task").iterdir())),
        descriptors=len(list(Path("/proc/self/fd").iterdir())),
    )


def processor_seconds(process_id: int) -> float:
    """Return the processor time that a process has used."""
    # The second field, the program's name, may hold anything but its closing parenthesis.
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    user, system = int(fields[11]), int(fields[12])
    return (user + system) / os.sysconf("SC_CLK_TCK")
