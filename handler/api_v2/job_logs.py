"""What is logged while a job is carried out, for its caller."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from handler.log import job_message
from handler.machine_paths import hide_paths

if TYPE_CHECKING:
    from handler.api_v2.history import JobHistory
    from handler.settings import Settings


class JobLogs(logging.Handler):
    """Adds what is logged for a job that is under way here to the job's own log."""

    def __init__(self, history: JobHistory, settings: Settings) -> None:
        super().__init__(logging.INFO)
        self._history = history
        self._settings = settings

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record."""
        told = job_message(record)
        live = None if told is None else self._history.live(told[0])
        if told is not None and live is not None:
            live.add_line(record.levelname.lower(), hide_paths(told[1], self._settings))
