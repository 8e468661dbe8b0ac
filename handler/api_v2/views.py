"""Jobs and assets as the API shows them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from handler.api_v2.ids import created_at, output_id
from handler.http.invocation import base_url

if TYPE_CHECKING:
    from fastapi import Request

    from handler.api_v2.records import KnownJob, OutputRecord
    from handler.api_v2.state import ApiV2
    from handler.assets import Asset

PATH = "/api/v2"
URL_SECONDS = 3600
_MILLISECONDS = 1000


class Views:
    """Makes JSON data for one request, whose address its URLs follow."""

    def __init__(self, api: ApiV2, request: Request) -> None:
        self._api = api
        self._base_url = base_url(request, api.service).rstrip("/")

    def job(self, job: KnownJob) -> dict[str, Any]:
        """Return a job."""
        path = f"{self._prefix}{PATH}/jobs/{job.id}"
        end = job.end
        error = end.error if end else None
        return {
            "id": job.id,
            "status": job.status,
            "created_at": timestamp(job.submission.created_at),
            "started_at": _timestamp_or_none(job.started_at),
            "completed_at": _timestamp_or_none(end.completed_at if end else None),
            "expires_at": timestamp(created_at(job.id) + self._api.history.kept_seconds),
            "queue_position": job.queue_position,
            "progress": job.progress.model_dump() if job.progress else None,
            "outputs": [self.output(job.id, output) for output in job.outputs],
            "error": error.model_dump(exclude={"retryable"}) if error else None,
            "metrics": _metrics(job),
            "metadata": job.submission.metadata,
            "urls": {"self": path, "events": f"{path}/events", "cancel": f"{path}/cancel"},
        }

    def summary(self, job: KnownJob) -> dict[str, Any]:
        """Return a job as lists have it."""
        updated = job.end.completed_at if job.end else job.started_at or job.submission.created_at
        return {
            "id": job.id,
            "status": job.status,
            "create_time": timestamp(job.submission.created_at),
            "update_time": timestamp(updated),
            "metadata": job.submission.metadata,
        }

    def output(self, job_id: str, output: OutputRecord) -> dict[str, Any]:
        """Return a job's output."""
        asset_id = output_id(job_id, output.place)
        return {
            "node_id": output.node_id,
            "name": output.name,
            "type": output.type,
            "content_type": output.content_type,
            "size_bytes": output.size_bytes,
            "id": asset_id,
            "hash": output.hash,
            "job_id": job_id,
            **self._url(asset_id, output.key or None),
        }

    def output_asset(self, job: KnownJob, output: OutputRecord) -> dict[str, Any]:
        """Return a job's output as an asset."""
        asset_id = output_id(job.id, output.place)
        made_at = job.end.completed_at if job.end else job.submission.created_at
        return {
            "id": asset_id,
            "hash": output.hash,
            "size_bytes": output.size_bytes,
            "content_type": output.content_type,
            "file_path": output.name,
            "created_at": timestamp(made_at),
            "expires_at": timestamp(created_at(job.id) + self._api.history.kept_seconds),
            "job_id": job.id,
            **self._url(asset_id, output.key or None),
        }

    def asset(self, asset: Asset, *, created_new: bool | None = None) -> dict[str, Any]:
        """Return an asset.

        Args:
            created_new: Whether its bytes are new, for who has just made it.
        """
        shown = {
            "id": asset.id,
            "hash": asset.hash,
            "size_bytes": asset.size_bytes,
            "content_type": asset.content_type,
            "file_path": asset.file_path,
            "created_at": timestamp(asset.created_at),
            "expires_at": timestamp(asset.expires_at),
            **self._url(asset.id, asset.key),
        }
        return shown if created_new is None else {**shown, "created_new": created_new}

    @property
    def _prefix(self) -> str:
        """What a proxy puts before this server's paths, as PUBLIC_URL says."""
        public = self._api.settings.public_url
        return urlsplit(public).path.rstrip("/") if public else ""

    def _url(self, asset_id: str, key: str | None) -> dict[str, str]:
        if self._api.in_bucket and key is not None:
            url = self._api.files.url(key, expires_in=URL_SECONDS)
        else:
            url = self._base_url + self._api.service.links.asset_path(asset_id, URL_SECONDS)
        return {"url": url, "url_expires_at": timestamp(time.time() + URL_SECONDS)}


def timestamp(seconds: float) -> str:
    """Return a time, in seconds since the epoch, as RFC 3339 has it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _timestamp_or_none(seconds: float | None) -> str | None:
    return None if seconds is None else timestamp(seconds)


def _metrics(job: KnownJob) -> dict[str, int | None]:
    queued = None
    if job.started_at is not None:
        queued = max(0, round((job.started_at - job.submission.created_at) * _MILLISECONDS))
    return {"queue_ms": queued, "execution_ms": job.end.execution_ms if job.end else None}
