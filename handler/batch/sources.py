"""From what the command line names to the list of jobs."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from handler.batch.bucket import BucketAddress, bucket_failures
from handler.batch.event_list import EventList
from handler.batch.photos import (
    BucketPhotos,
    FolderPhotos,
    check_results_are_elsewhere,
)
from handler.contract.errors import EventError
from handler.contract.job_id import JobId
from handler.job.request import read_request
from handler.shelf.s3 import resolve_bucket, s3_client

if TYPE_CHECKING:
    from collections.abc import Mapping

    from handler.batch.job import JobList
    from handler.settings import Settings

_LIST_SUFFIXES = frozenset({".jsonl", ".ndjson"})
# Stands for a photo where an event is checked before there is one.
_SOME_PHOTO = "s3://bucket/photo.jpg"


def open_job_list(
    settings: Settings, source: str, job_input: Mapping[str, Any], scratch: Path
) -> JobList:
    """Open a list of events, which is known by its name's end, or a place with photos.

    Args:
        source: A path or an ``s3://`` address.
        job_input: For photos: every event's ``input`` without its image. Empty for a list.
        scratch: A folder for a copy of a list that is in a bucket.

    Raises:
        EventError: The list cannot be used, or does not go with ``job_input``.
        ConfigurationError: Results would be stored among the photos.
        ParameterError: The workflow does not take these parameters, or not one photo.
        UnknownWorkflowError: There is no such workflow.
        StorageError: The bucket cannot be read.
    """
    address = BucketAddress.parse(source)
    name = source if address is None else address.key
    if PurePosixPath(name).suffix.lower() in _LIST_SUFFIXES:
        if job_input:
            raise EventError(
                "The lines of a list are whole events: give workflow, parameters and output in "
                f"them, not as options ({', '.join(sorted(job_input))})."
            )
        if address is None:
            return EventList(Path(name), Path(name).parent)
        return EventList(_fetched(settings, address, scratch), None)
    _check_job_input(settings, job_input)
    results = _results_address(settings, job_input)
    if address is None:
        check_results_are_elsewhere(results, str(Path(name).absolute()))
        return FolderPhotos(Path(name), job_input)
    check_results_are_elsewhere(results, f"s3://{address.bucket}/{address.folder}")
    with bucket_failures(address.bucket):
        return BucketPhotos(s3_client(settings), address.bucket, address.folder, job_input)


def with_photos_bucket(settings: Settings, source: str) -> Settings:
    """Return settings that let the worker read the photos' bucket, which the operator named."""
    address = BucketAddress.parse(source)
    if address is None:
        return settings
    return settings.model_copy(update={"input_buckets": settings.input_buckets | {address.bucket}})


def _fetched(settings: Settings, address: BucketAddress, scratch: Path) -> Path:
    path = scratch / "events.jsonl"
    with bucket_failures(address.bucket), path.open("wb") as file:
        s3_client(settings).download_fileobj(address.bucket, address.key, file)
    return path


def _check_job_input(settings: Settings, job_input: Mapping[str, Any]) -> None:
    """Find out before ComfyUI is started what would fail every job."""
    if "workflow" not in job_input:
        raise EventError("Say with --workflow what is to be done with the photos.")
    event = {"input": {**job_input, "image": _SOME_PHOTO}}
    read_request(event, JobId.new(), settings.workflows_dir)


def _results_address(settings: Settings, job_input: Mapping[str, Any]) -> str:
    bucket = resolve_bucket(settings)
    if bucket is None:
        root = str(settings.results_dir.absolute())
    else:
        root = f"s3://{bucket.name}/{settings.bucket_prefix.strip('/')}"
    prefix = job_input.get("output", {}).get("prefix", "")
    return f"{root.rstrip('/')}/{prefix}"
