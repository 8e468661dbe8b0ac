"""A sign of life in a file, for a worker that listens on no port."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from pathlib import Path

_EVERY = 5.0
# Nodes may hold the interpreter for a while, such as when a checkpoint is read.
_STALE_AFTER = 60.0


def start_heartbeat(path: Path | None = None, every: float = _EVERY) -> None:
    """Write this process's id to a file from now on, every few seconds, until it ends."""
    path = path or heartbeat_path()

    def beat() -> None:
        while True:
            # Whatever needs the disk reports that it is full; this continues once there is room.
            with contextlib.suppress(OSError):
                path.write_text(str(os.getpid()))
            time.sleep(every)

    threading.Thread(target=beat, name="heartbeat", daemon=True).start()


def has_heartbeat(path: Path | None = None, stale_after: float = _STALE_AFTER) -> bool | None:
    """Say whether the process that writes the heartbeat lives; ``None`` where none writes one."""
    path = path or heartbeat_path()
    try:
        written_at, process_id = path.stat().st_mtime, int(path.read_text())
        os.kill(process_id, 0)
    except (OSError, ValueError):
        return None
    return time.time() - written_at < stale_after


def heartbeat_path() -> Path:
    """Return where the heartbeat of this user's worker is."""
    return Path(tempfile.gettempdir()) / f"comfyui-worker-{os.getuid()}.heartbeat"
