"""Word of jobs, delivered in the background: no job waits for it, and none fails of it."""

from __future__ import annotations

import heapq
import itertools
import logging
import queue
import random
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from handler.contract.webhook_signature import keys_of
from handler.inputs.guard import resolve_with_system
from handler.inputs.source import parse_http_url
from handler.log import job_context
from handler.shelf import open_storage
from handler.webhooks.message import done_message, progress_message
from handler.webhooks.pending import PendingMessages
from handler.webhooks.post import Poster, UndeliveredError

if TYPE_CHECKING:
    from collections.abc import Callable

    from handler.contract.event import Webhook
    from handler.contract.job_id import JobId
    from handler.contract.progress import JobProgress
    from handler.contract.response import Response
    from handler.settings import Settings
    from handler.webhooks.message import Message

_POSTERS = 4
_PROGRESS_EVERY = 5.0
_FIRST_BACKOFF = 5.0
_BACKOFF_FACTOR = 4.0
_LONGEST_BACKOFF = 3600.0
_SCAN_EVERY = 300.0
# Platforms leave little time beyond that for running jobs.
_LAST_ATTEMPTS = 1.5
# Of one job, one message is on its way at a time: the others wait that long and look again.
_ONE_BY_ONE = 0.05
_MOST_WAITING = 10_000
_MOST_PROGRESS_WAITING = 100

log = logging.getLogger(__name__)


def open_webhooks(
    settings: Settings, prepare: Callable[[Response], Response] = lambda response: response
) -> Webhooks | None:
    """Return the webhooks of this process, and start to deliver; ``None`` without a secret.

    Args:
        prepare: Makes of a response what its receiver is told, such as whole URLs.

    Raises:
        ConfigurationError: A setting cannot work.
    """
    if settings.webhook_secret is None:
        return None
    keys = keys_of(settings.webhook_secret.get_secret_value())
    poster = Poster(settings, keys, resolve_with_system)
    return Webhooks(settings, PendingMessages(open_storage(settings)), poster, prepare)


class Webhooks:
    """The webhooks of one process. Safe from any thread; nothing here blocks or raises.

    One thread writes messages to the shelf and takes over those of processes that are gone; some
    others post.
    """

    def __init__(
        self,
        settings: Settings,
        pending: PendingMessages,
        poster: Poster,
        prepare: Callable[[Response], Response] = lambda response: response,
    ) -> None:
        self._most_attempts = settings.webhook_attempts
        self._max_age = settings.webhook_max_age
        self._pending = pending
        self._poster = poster
        self._prepare = prepare
        self._new: queue.SimpleQueue[_Ended | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._waiting: list[_Entry] = []
        self._progress_waiting = 0
        self._own: set[str] = set()
        self._busy_jobs: set[str] = set()
        self._reports: dict[str, _ProgressReports] = {}
        self._numbers = itertools.count()
        self._closing = False
        self._threads = [threading.Thread(target=self._keep, name="webhook-keeper", daemon=True)]
        self._threads += [
            threading.Thread(target=self._post_all, name="webhook", daemon=True)
            for _ in range(_POSTERS)
        ]
        for thread in self._threads:
            thread.start()

    def listener(self, job_id: JobId, webhook: Webhook) -> Callable[[JobProgress], None] | None:
        """Return what is to be called with a job's progress; ``None`` if nobody wants word of it.

        At most one message in five seconds is sent, once, and none after that of the end.
        """
        if "progress" not in webhook.events:
            return None
        report = self._reports[job_id] = _ProgressReports(self._report, job_id, webhook.url)
        return report

    def ended(self, job_id: JobId, webhook: Webhook, response: Response) -> None:
        """Send word of a job's end, if it is wanted."""
        report = self._reports.pop(job_id, None)
        if report is not None:
            report.ended = True
        if "done" not in webhook.events:
            return
        if len(self._own) + self._new.qsize() >= _MOST_WAITING:
            log.error("too many webhooks wait, one is dropped", extra={"job": job_id})
            return
        self._new.put(_Ended(job_id, webhook.url, response, time.time()))

    def close(self, within: float = _LAST_ATTEMPTS) -> None:
        """Keep what is not delivered for the next process, and end.

        Args:
            within: Seconds for that, and for first attempts.
        """
        ends_at = time.monotonic() + within
        self._new.put(None)
        self._threads[0].join(within)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(max(0.0, ends_at - time.monotonic()))

    def _report(self, report: _ProgressReports, progress: JobProgress) -> None:
        message = progress_message(report.job_id, report.url, progress, time.time())
        with self._changed:
            if self._progress_waiting < _MOST_PROGRESS_WAITING:
                self._progress_waiting += 1
                self._push(message, report)

    def _push(self, message: Message, report: _ProgressReports | None = None) -> None:
        heapq.heappush(self._waiting, _Entry(message.due, next(self._numbers), message, report))
        self._changed.notify()

    # The keeper's thread

    def _keep(self) -> None:
        scan_at = time.time()
        while True:
            try:
                ended = self._new.get(timeout=max(0.0, scan_at - time.time()))
            except queue.Empty:
                scan_at = self._adopt()
                continue
            if ended is None:
                return
            try:
                self._take(ended)
            except Exception:
                # Whatever a response holds, the next one's webhook is sent.
                log.exception("webhook cannot be made", extra={"job": ended.job_id})

    def _take(self, ended: _Ended) -> None:
        response = self._prepare(ended.response)
        message = done_message(ended.job_id, ended.url, response, ended.at)
        self._pending.put(message)
        with self._changed:
            self._own.add(message.message_id)
            self._push(message)

    def _adopt(self) -> float:
        """Take over what nobody has; return when to look again, in seconds since the epoch."""
        next_scan = time.time() + _SCAN_EVERY
        try:
            with self._changed:
                own = frozenset(self._own)
            adopted, orphaned_at = self._pending.adopt(own)
        except Exception:
            log.exception("pending webhooks cannot be listed")
            return next_scan
        with self._changed:
            for message in adopted:
                self._own.add(message.message_id)
                self._push(message)
        if adopted:
            log.info("took over pending webhooks", extra={"count": len(adopted)})
        return next_scan if orphaned_at is None else min(next_scan, orphaned_at)

    # The posters' threads

    def _post_all(self) -> None:
        while (entry := self._next()) is not None:
            with job_context(entry.message.job_id):
                try:
                    self._deliver(entry)
                except Exception:
                    log.exception("webhook failed in a way it should not")
                    self._let_go(entry.message)
                finally:
                    with self._changed:
                        self._busy_jobs.discard(entry.message.job_id)
                        self._changed.notify_all()

    def _next(self) -> _Entry | None:
        """Wait for a message that is due; ``None`` at the end."""
        with self._changed:
            while True:
                now = time.time()
                first = self._waiting[0] if self._waiting else None
                if self._closing and (first is None or first.due > now or first.message.attempts):
                    return None
                if first is None or first.due > now:
                    self._changed.wait(None if first is None else first.due - now)
                    continue
                entry = heapq.heappop(self._waiting)
                if entry.message.job_id in self._busy_jobs:
                    heapq.heappush(self._waiting, entry.later(now + _ONE_BY_ONE))
                    continue
                if entry.report is not None:
                    self._progress_waiting -= 1
                    if entry.report.ended:
                        continue
                self._busy_jobs.add(entry.message.job_id)
                return entry

    def _deliver(self, entry: _Entry) -> None:
        message = entry.message
        told = {"host": parse_http_url(message.url).authority, "type": message.type}
        attempts = message.attempts + 1
        try:
            self._poster.post(message)
        except UndeliveredError as error:
            told |= {"reason": error.reason, "attempts": str(attempts)}
            if entry.report is not None:
                log.info("webhook not delivered", extra=told)
                return
            due = time.time() + _backoff(attempts)
            if error.final or attempts >= self._most_attempts or self._too_old(message, due):
                log.warning("webhook given up", extra=told)
                self._let_go(message)
                return
            log.info("webhook not delivered, tried again later", extra=told)
            later = message.model_copy(update={"attempts": attempts, "due": due})
            self._pending.put(later)
            with self._changed:
                self._push(later)
            return
        log.info("webhook delivered", extra=told)
        if entry.report is None:
            self._let_go(message)

    def _too_old(self, message: Message, due: float) -> bool:
        return due - message.made_at > self._max_age

    def _let_go(self, message: Message) -> None:
        self._pending.delete(message)
        with self._changed:
            self._own.discard(message.message_id)


@dataclass(frozen=True)
class _Ended:
    """A job's end of which word is to be sent."""

    job_id: JobId
    url: str
    response: Response
    at: float


@dataclass(frozen=True, order=True)
class _Entry:
    """A message that waits until it is due, in seconds since the epoch."""

    due: float
    number: int
    message: Message = field(compare=False)
    report: _ProgressReports | None = field(compare=False)

    def later(self, due: float) -> _Entry:
        return _Entry(due, self.number, self.message, self.report)


class _ProgressReports:
    """A job's progress, thinned out. Called on one thread after the other.

    Attributes:
        ended: Whether the job has: what is still under way is not sent any more.
    """

    def __init__(
        self,
        report: Callable[[_ProgressReports, JobProgress], None],
        job_id: JobId,
        url: str,
    ) -> None:
        self.job_id = job_id
        self.url = url
        self.ended = False
        self._report = report
        self._sent_at: float | None = None

    def __call__(self, progress: JobProgress) -> None:
        now = time.monotonic()
        if self._sent_at is None or now - self._sent_at >= _PROGRESS_EVERY:
            self._sent_at = now
            self._report(self, progress)


def _backoff(attempts: int) -> float:
    """Return seconds until the next attempt: 5, 20, 80, up to an hour, a fifth more or less."""
    seconds = min(_FIRST_BACKOFF * _BACKOFF_FACTOR ** (attempts - 1), _LONGEST_BACKOFF)
    return seconds * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, hides nothing
