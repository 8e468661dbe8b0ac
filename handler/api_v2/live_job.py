"""A job that this worker has, from its submission to its end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from handler.api_v2.records import KnownJob, Logged, LogLine, ProgressRecord, Running

if TYPE_CHECKING:
    from PIL.Image import Image

    from handler.api_v2.records import Ended, Status, Submission
    from handler.contract.progress import JobProgress
    from handler.job.pool import Job

_MOST_LINES = 200
_LONGEST_LINE = 1000
_ON_DEVICE_OR_LATER = frozenset({"run", "encode", "store"})


class LiveJob:
    """A job under way here. Safe from any thread.

    Attributes:
        submission: The job as it was taken.
        job: The pool's, once it is queued there.
        task: What queues it, where that waits for the start.
        started_at: When it came on the device, in seconds since the epoch.
        canceling: Whether it is to end.
        end: How it ended.
        written: What was last written down of it.
        end_being_written: Whether its end is on its way to the shelf.
    """

    def __init__(self, submission: Submission) -> None:
        self.submission = submission
        self.job: Job | None = None
        self.task: asyncio.Task[None] | None = None
        self.started_at: float | None = None
        self.canceling = False
        self.end: Ended | None = None
        self.written: Running | None = None
        self.end_being_written = False
        self._progress: ProgressRecord | None = None
        self._preview: tuple[str, Image] | None = None
        self._lines: deque[LogLine] = deque(maxlen=_MOST_LINES)
        self._line_count = 0
        self._lock = threading.Lock()
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    @property
    def status(self) -> Status:
        """Where the job stands."""
        if self.end is not None:
            return self.end.status
        if self.canceling:
            return "canceling"
        return "queued" if self.started_at is None else "running"

    @property
    def progress(self) -> ProgressRecord | None:
        """How far it is."""
        return self._progress

    @property
    def log(self) -> Logged:
        """The last lines of its log."""
        with self._lock:
            lines = tuple(self._lines)
            return Logged(dropped=self._line_count - len(lines), lines=lines)

    def known(self, queue_position: int | None) -> KnownJob:
        """Return what is known of the job at this moment."""
        return KnownJob(
            submission=self.submission,
            status=self.status,
            started_at=self.started_at,
            queue_position=queue_position if self.status == "queued" else None,
            progress=self._progress,
            log=self.log,
            end=self.end,
            preview=self._preview,
        )

    def running(self, worker: str) -> Running:
        """Return what is to be written down of the job at this moment."""
        return Running(
            worker=worker, started_at=self.started_at, progress=self._progress, log=self.log
        )

    def add_line(self, level: str, message: str) -> None:
        """Add a line to the job's log."""
        line = LogLine(at=time.time(), level=level, message=message[:_LONGEST_LINE])
        with self._lock:
            self._lines.append(line)
            self._line_count += 1

    def progressed(self, progress: JobProgress) -> None:
        """Take note of the job's progress."""
        if progress.phase not in _ON_DEVICE_OR_LATER:
            return
        if self.started_at is None:
            self.started_at = time.time()
        total = self.submission.nodes_total
        fraction = min(max(progress.fraction, 0.0), 1.0)
        steps = progress.steps or None
        self._progress = ProgressRecord(
            value=fraction,
            # A sum of fractions may lie a hair below the whole number that it stands for.
            nodes_done=min(int(fraction * total + 1e-6), total),
            nodes_total=total,
            current_node=progress.node_id,
            current_node_class=progress.class_type,
            step=progress.step if steps else None,
            steps=steps,
            message=_message(progress),
        )
        if progress.preview is not None and progress.node_id is not None:
            self._preview = (progress.node_id, progress.preview)

    async def wait_for_end(self, seconds: float) -> None:
        """Return when the job has ended, or after so many seconds."""
        waiting = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._waiting.add(waiting)
        try:
            if self.end is None:
                async with asyncio.timeout(seconds):
                    await waiting[1].wait()
        except TimeoutError:
            pass
        finally:
            with self._lock:
                self._waiting.discard(waiting)

    def finish(self, end: Ended) -> bool:
        """Take note of the job's end; return ``False`` where it had ended before."""
        with self._lock:
            if self.end is not None:
                return False
            self.end = end
            waiting = list(self._waiting)
        for loop, event in waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)
        return True


def _message(progress: JobProgress) -> str | None:
    if progress.node is None:
        return None
    if progress.steps > 1:
        return f"{progress.node} {progress.step}/{progress.steps}"
    return progress.node
