"""What all routes of the API ask."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from handler.api_v2.history import HistoryOptions, JobHistory
from handler.api_v2.job_logs import JobLogs
from handler.api_v2.job_shelf import JobShelf
from handler.assets import AssetStore, sweep_assets
from handler.contract.errors import OverloadedError
from handler.shelf import BucketShelf, FolderShelf

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from handler.http.service import Service
    from handler.job.invoke import Function
    from handler.shelf import Shelf

_FOLDER_INTERVAL = 0.5
_BUCKET_INTERVAL = 2.0
# Each takes the space of its file on the machine's disk meanwhile.
_MOST_UPLOADS = 16
_SHARE_BETWEEN_SWEEPS = 20


class ApiV2:
    """The API's state.

    Args:
        service: The server's.
        shelf: Where results go; assets and records of jobs go there as well.

    Attributes:
        files: The shelf, for bytes.
        jobs_shelf: The records of jobs.
        node_classes: Every node class that graphs can name, once ComfyUI runs.
        tasks: What queues jobs once the start is done; held, so that they are not lost.
    """

    def __init__(self, service: Service, shelf: Shelf) -> None:
        settings = service.settings
        self.service = service
        self.settings = settings
        self.files = shelf
        self.assets = AssetStore(shelf, settings.assets_kept_seconds)
        self.jobs_shelf = JobShelf(_records_on(shelf))
        self.node_classes: frozenset[str] | None = None
        self.booted = False
        self.tasks: set[asyncio.Task[None]] = set()
        self._uploads = 0
        self._uploaded_bytes = 0
        options = HistoryOptions(
            interval=_BUCKET_INTERVAL if self.in_bucket else _FOLDER_INTERVAL,
            lost_after=settings.worker_lost_seconds,
            kept_seconds=settings.job_history_seconds,
            key_prefix=shelf.full_key(""),
        )
        self.history = JobHistory(self.jobs_shelf, options, self.sweep)
        self._logs = JobLogs(self.history, settings)
        logging.getLogger().addHandler(self._logs)
        service.jobs.inherit(self.history.adopt)
        service.jobs.when_booted(self._take)

    @property
    def in_bucket(self) -> bool:
        """Whether bytes are fetched from a bucket, not from this server."""
        return isinstance(self.files, BucketShelf)

    @contextlib.contextmanager
    def uploading(self) -> Iterator[None]:
        """Receive an upload inside. Used on the event loop.

        Raises:
            OverloadedError: As many are being received as may be.
        """
        if self._uploads >= _MOST_UPLOADS:
            raise OverloadedError(
                f"The worker receives {self._uploads} uploads, the most it takes at once. Send "
                "the file again in a while.",
                limit=_MOST_UPLOADS,
            )
        self._uploads += 1
        try:
            yield
        finally:
            self._uploads -= 1

    def uploaded(self, size: int) -> None:
        """Take note of bytes that are new; where they are many, there may be too many in all."""
        self._uploaded_bytes += size
        if self._uploaded_bytes > self.settings.assets_max_bytes // _SHARE_BETWEEN_SWEEPS:
            self._uploaded_bytes = 0
            self.history.sweep_soon()

    def sweep(self) -> None:
        """Remove jobs and assets that are not to be kept any longer.

        Raises:
            StorageError: The shelf refuses.
        """
        settings = self.settings
        self.jobs_shelf.sweep(settings.job_history_seconds, settings.job_history_most)
        sweep_assets(self.files, self.assets, settings.assets_max_bytes)

    def close(self) -> None:
        """Write down what is to be, once jobs have ended."""
        self.history.close()
        logging.getLogger().removeHandler(self._logs)

    def _take(self, function: Function) -> None:
        self.node_classes = function.runtime.node_classes()
        self.booted = True


def _records_on(shelf: Shelf) -> Shelf:
    """Return the shelf for records: they are to outlive the process, not the machine's disk."""
    if isinstance(shelf, FolderShelf):
        return FolderShelf(shelf.folder, synced=False)
    return shelf


def _api(request: Request) -> ApiV2:
    api: ApiV2 = request.app.state.api
    return api


ApiDep = Annotated[ApiV2, Depends(_api)]
