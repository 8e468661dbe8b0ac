"""Liveness of a worker that listens on no port: a file that it writes again and again."""

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


def keep_liveness_file(path: Path | None = None, every: float = _EVERY) -> None:
    """Write this process's id to a file from now on, every few seconds, until it ends."""
    path = path or liveness_path()

    def beat() -> None:
        while True:
            # Whatever needs the disk reports that it is full; this continues once there is room.
            with contextlib.suppress(OSError):
                path.write_text(str(os.getpid()))
            time.sleep(every)

    threading.Thread(target=beat, name="liveness", daemon=True).start()


def is_live(path: Path | None = None, stale_after: float = _STALE_AFTER) -> bool | None:
    """Say whether the process that writes the file lives; ``None`` where none writes one."""
    path = path or liveness_path()
    try:
        written_at, process_id = path.stat().st_mtime, int(path.read_text())
        os.kill(process_id, 0)
    except (OSError, ValueError):
        return None
    return time.time() - written_at < stale_after


def liveness_path() -> Path:
    """Return where the liveness file of this user's worker is."""
    return Path(tempfile.gettempdir()) / f"comfyui-worker-{os.getuid()}.alive"
