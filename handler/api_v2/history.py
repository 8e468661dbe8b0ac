"""All jobs of the API, whichever worker on the same shelf has or had them.

Of a job that is under way here, this process knows all. Of others it reads the records: the worker
that has a job writes down how far it is while that changes, and that it lives. A job that has not
ended, and whose worker has not lived for a while, is lost; who finds that writes it down, and of
all who write a job's end down exactly one succeeds.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from comfyui_runtime.errors import ServiceError
from handler.api_v2 import ends
from handler.api_v2.ids import created_at, is_job_id
from handler.api_v2.live_job import LiveJob
from handler.api_v2.records import KnownJob, Running, ended_job
from handler.contract.errors import StorageError, UnknownJobError
from handler.job.pool import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from handler.api_v2.job_shelf import JobShelf
    from handler.api_v2.records import Ended, Status, Submission
    from handler.contract.job_id import JobId
    from handler.contract.response import Response

_BEAT_SECONDS = 5.0
_SWEEP_SECONDS = 600.0
_FIRST_SWEEP_SECONDS = 60.0
_LONGEST_TRY_SECONDS = 600.0
# Many may ask for one job at once.
_FRESH_SECONDS = 0.4
_MOST_SEEN = 1000

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HistoryOptions:
    """How jobs are kept, and looked after.

    Attributes:
        interval: Seconds between two looks at what is to be written down or was left by others.
        lost_after: Seconds without a sign of life after which a worker is taken for gone.
        kept_seconds: How long a job is kept, from its submission.
        key_prefix: What the shelf puts before the keys of results.
    """

    interval: float = 0.5
    lost_after: float = 60.0
    kept_seconds: float = 604_800.0
    key_prefix: str = ""


class JobHistory:
    """The jobs of the API. Safe from any thread.

    Args:
        shelf: Where their records are.
        sweep: Removes what is not to be kept any longer; called every ten minutes.
    """

    def __init__(
        self,
        shelf: JobShelf,
        options: HistoryOptions = HistoryOptions(),
        sweep: Callable[[], None] = lambda: None,
    ) -> None:
        self.worker = uuid.uuid4().hex
        self.kept_seconds = options.kept_seconds
        self._shelf = shelf
        self._options = options
        self._sweep = sweep
        self._live: dict[str, LiveJob] = {}
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[float, KnownJob]] = {}
        self._sweep_wanted = False
        self._last_beat = 0.0
        # Records are written off the threads that carry jobs out.
        self._writers = ThreadPoolExecutor(2, thread_name_prefix="job-history")
        self._adopting = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._look_after, name="job-history", daemon=True)
        self._thread.start()

    def expect(self, submission: Submission) -> LiveJob:
        """Take note of a job that is about to be queued here."""
        live = LiveJob(submission)
        with self._lock:
            self._live[submission.id] = live
        return live

    def record(self, submission: Submission) -> None:
        """Write a job down.

        Raises:
            StorageError: The shelf refuses.
        """
        self._beat()
        self._shelf.submit(submission)

    def drop(self, job_id: str) -> None:
        """Forget a job that was not taken after all."""
        with self._lock:
            self._live.pop(job_id, None)

    def follow(self, live: LiveJob, job: Job) -> None:
        """Take note of what becomes of a job that is queued here."""
        live.job = job
        job.listen(live.progressed)
        job.future.add_done_callback(lambda future: self._end(live, future.result()))
        if live.canceling:
            job.cancel()

    def fail(self, live: LiveJob, response: Response) -> None:
        """Take note of a job that could not be queued."""
        self._end(live, response)

    def adopt(self, job_id: JobId, found: Job | Response | None) -> None:
        """Take note of what became of a job of a process that is gone.

        Args:
            found: The job, now that it is queued here; its response; ``None`` while it waits.
        """
        if is_job_id(job_id):
            self._writers.submit(self._logged, lambda: self._adopt_in_turn(job_id, found))

    def live(self, job_id: str) -> LiveJob | None:
        """Return a job that is under way here, or whose end is being written down."""
        with self._lock:
            return self._live.get(job_id)

    def live_jobs(self) -> list[LiveJob]:
        """Return the jobs that are under way here, oldest first."""
        with self._lock:
            return list(self._live.values())

    def find(self, job_id: str) -> KnownJob:
        """Return what is known of a job.

        Raises:
            UnknownJobError: There is no such job, or it is not kept any longer.
            StorageError: The records cannot be read.
        """
        live = self.live(job_id)
        if live is not None:
            return live.known(self._position(live))
        submission = self._shelf.submission(job_id)
        if submission is None or created_at(job_id) + self.kept_seconds < time.time():
            raise UnknownJobError(
                "There is no job with this id; jobs are forgotten after a while "
                "(JOB_HISTORY_SECONDS).",
                job_id=job_id,
            )
        end = self._shelf.ended(job_id)
        if end is not None:
            return ended_job(submission, end)
        return self._seen_elsewhere(submission)

    def jobs(self, after: str | None = None) -> Iterator[KnownJob]:
        """Yield all jobs, the newest first.

        Args:
            after: Only those that are older than this one.

        Raises:
            StorageError: The records cannot be read.
        """
        for job_id in self._shelf.ids(after):
            try:
                yield self.find(job_id)
            except UnknownJobError:
                continue

    def cancel(self, job_id: str) -> KnownJob:
        """Ask for a job's end, wherever it is. One that has ended stays as it is.

        Raises:
            UnknownJobError: There is no such job.
            StorageError: The records cannot be read or written.
        """
        live = self.live(job_id)
        if live is not None:
            self._cancel(live)
        elif not self.find(job_id).ended:
            self._shelf.ask_to_cancel(job_id)
            self._seen.pop(job_id, None)
        return self.find(job_id)

    def sweep_soon(self) -> None:
        """Remove what is not to be kept any longer without waiting for the next time."""
        self._sweep_wanted = True

    def close(self) -> None:
        """Write down what is to be, once jobs have ended."""
        self._closing.set()
        self._thread.join()
        for live in self.live_jobs():
            if live.end is not None and not live.end_being_written:
                self._write_end_soon(live, live.end)
        self._writers.shutdown(wait=True)

    def _seen_elsewhere(self, submission: Submission) -> KnownJob:
        now = time.monotonic()
        seen = self._seen.get(submission.id)
        if seen is not None and now - seen[0] < _FRESH_SECONDS:
            return seen[1]
        job = self._elsewhere(submission)
        if len(self._seen) >= _MOST_SEEN:
            self._seen.clear()
        self._seen[submission.id] = (now, job)
        return job

    def _elsewhere(self, submission: Submission) -> KnownJob:
        running = self._shelf.running(submission.id)
        worker = running.worker if running else submission.worker
        beat = self._shelf.last_beat(worker)
        run = running or Running(worker=worker)
        if beat is None or time.time() - beat > self._options.lost_after:
            end = self._shelf.end(submission.id, ends.lost(run))
            log.error("job lost with its worker", extra={"job": submission.id, "worker": worker})
            return ended_job(submission, end)
        canceling = self._shelf.asked_to_cancel(submission.id)
        # It may have ended between two of these steps.
        end_now = self._shelf.ended(submission.id)
        if end_now is not None:
            return ended_job(submission, end_now)
        status: Status = "queued" if run.started_at is None else "running"
        return KnownJob(
            submission=submission,
            status="canceling" if canceling else status,
            started_at=run.started_at,
            progress=run.progress,
            log=run.log,
        )

    def _position(self, live: LiveJob) -> int | None:
        waiting = [other for other in self.live_jobs() if other.status == "queued"]
        return waiting.index(live) if live in waiting else None

    def _cancel(self, live: LiveJob) -> None:
        live.canceling = True
        if live.job is not None:
            live.job.cancel()
            return
        task = live.task
        if task is not None:
            task.get_loop().call_soon_threadsafe(task.cancel)
        self._finish(live, ends.cancelled(live.running(self.worker)))

    def _end(self, live: LiveJob, response: Response) -> None:
        run = live.running(self.worker)
        end = ends.end_of(response, run, live.submission.nodes_total, self._options.key_prefix)
        self._finish(live, end)

    def _finish(self, live: LiveJob, end: Ended) -> None:
        if live.finish(end):
            self._write_end_soon(live, end)

    def _write_end_soon(self, live: LiveJob, end: Ended) -> None:
        live.end_being_written = True
        self._writers.submit(self._logged, lambda: self._write_end(live, end))

    def _write_end(self, live: LiveJob, end: Ended) -> None:
        """Write a job's end down; where the shelf refuses, that is tried again for a while."""
        job_id = live.submission.id
        try:
            written = self._shelf.end(job_id, end)
        except StorageError:
            if time.time() - end.completed_at > _LONGEST_TRY_SECONDS:
                self.drop(job_id)
            live.end_being_written = False
            raise
        # From now on the records answer.
        self.drop(job_id)
        if written != end:
            log.error("job had been taken for lost when it ended", extra={"job": job_id})
        if live.written is not None:
            self._shelf.drop_running(job_id)
        if live.canceling:
            self._shelf.drop_cancel(job_id)

    def _adopt_in_turn(self, job_id: JobId, found: Job | Response | None) -> None:
        with self._adopting:
            self._adopt(job_id, found)

    def _adopt(self, job_id: JobId, found: Job | Response | None) -> None:
        submission = self._shelf.submission(job_id)
        if submission is None:
            return
        if self._shelf.ended(job_id) is not None:
            if isinstance(found, Job):
                found.cancel()
            return
        running = self._shelf.running(job_id)
        if found is None or isinstance(found, Job):
            live = self.live(job_id) or self.expect(submission)
            self._beat()
            live.written = live.running(self.worker)
            self._shelf.run(job_id, live.written)
            if isinstance(found, Job):
                self.follow(live, found)
            return
        adopted = self.live(job_id)
        if adopted is not None:
            self._end(adopted, found)
            return
        run = running or Running(worker=self.worker)
        end = ends.end_of(found, run, submission.nodes_total, self._options.key_prefix)
        self._shelf.end(job_id, end)

    def _look_after(self) -> None:
        sweep_at = time.monotonic() + _FIRST_SWEEP_SECONDS
        while not self._closing.wait(self._options.interval):
            self._logged(self._publish)
            if self._sweep_wanted or time.monotonic() >= sweep_at:
                self._sweep_wanted = False
                sweep_at = time.monotonic() + _SWEEP_SECONDS
                self._logged(self._sweep)

    def _publish(self) -> None:
        jobs = self.live_jobs()
        if not jobs:
            return
        self._beat()
        asked = self._shelf.all_asked_to_cancel()
        for live in jobs:
            if live.submission.id in asked and not live.canceling:
                self._cancel(live)
            if live.end is not None:
                if not live.end_being_written:
                    self._write_end_soon(live, live.end)
                continue
            if live.started_at is None:
                continue
            running = live.running(self.worker)
            if running != live.written:
                live.written = running
                self._shelf.run(live.submission.id, running)

    def _beat(self) -> None:
        now = time.monotonic()
        if now - self._last_beat >= _BEAT_SECONDS:
            self._shelf.beat(self.worker)
            self._last_beat = now

    @staticmethod
    def _logged(do: Callable[[], None]) -> None:
        """Do what no caller waits for; the log says where it fails."""
        try:
            do()
        except ServiceError as error:
            log.warning("records of jobs cannot be kept", extra={"error": error.message})
        except Exception:
            log.exception("records of jobs cannot be kept")
