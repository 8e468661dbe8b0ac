"""How much memory (RAM) this process may use, and how much of it is free.

In a container the machine's own figures mislead: its limit may be far lower.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class _Controller:
    """One generation of the kernel's control groups.

    Attributes:
        name: Its name in ``/proc/self/cgroup``.
        root: Its folder, below the file system's root.
        limit: File with the limit in bytes; no number where there is none.
        used: File with the bytes in use, the page cache included.
        cache: The entries of ``memory.stat`` that count what can be given back at once.
    """

    name: str
    root: str
    limit: str
    used: str
    cache: tuple[str, ...]


_CONTROLLERS = (
    _Controller(
        "", "sys/fs/cgroup", "memory.max", "memory.current", ("inactive_file", "active_file")
    ),
    _Controller(
        "memory",
        "sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        ("total_inactive_file", "total_active_file"),
    ),
)


def total_ram(root: Path = Path("/")) -> int:
    """Return the bytes that this process may use: the machine's, or its container's limit.

    Args:
        root: Where ``proc/`` and ``sys/`` lie.
    """
    return min([_machine(root, "MemTotal:"), *(limit for limit, _ in _limits(root))])


def available_ram(root: Path = Path("/")) -> int:
    """Return the bytes that can be had without swapping; the page cache counts as free.

    Args:
        root: Where ``proc/`` and ``sys/`` lie.
    """
    machine = _machine(root, "MemAvailable:")
    return max(0, min([machine, *(limit - used for limit, used in _limits(root))]))


def _machine(root: Path, name: str) -> int:
    kibibytes = _figures(root / "proc/meminfo").get(name)
    if kibibytes is None:  # no Linux: nothing tells what is free
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return kibibytes * 1024


def _limits(root: Path) -> Iterator[tuple[int, int]]:
    """Give limit and bytes in use of each group that this process is in and that has a limit."""
    # A line is number:controllers:path; the second generation has number 0 and names none.
    lines = [line.split(":", 2) for line in _read(root / "proc/self/cgroup").splitlines()]
    for controller in _CONTROLLERS:
        path = next((line[2] for line in lines if controller.name in line[1].split(",")), None)
        if path is None:
            continue
        top = root / controller.root
        # In a container the path may be the host's, of which only the top is to be seen here.
        folder = top / path.lstrip("/")
        for group in (folder, *folder.parents):
            limit = _read(group / controller.limit).strip()
            if limit.isdecimal():
                figures = _figures(group / "memory.stat")
                cache = sum(figures.get(name, 0) for name in controller.cache)
                yield int(limit), int(_read(group / controller.used)) - cache
            if group == top:
                break


def _figures(path: Path) -> dict[str, int]:
    words = (line.split() for line in _read(path).splitlines())
    return {word[0]: int(word[1]) for word in words if len(word) > 1}


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
