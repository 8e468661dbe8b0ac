"""Photos of a folder or of a bucket's prefix, each a job with the same workflow and parameters."""

from __future__ import annotations

import logging
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from handler.batch.job import BatchJob, digest
from handler.contract.errors import ConfigurationError, EventError
from handler.inputs.local_images import inline_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mypy_boto3_s3 import S3Client

_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST_NAME_IN_AN_ID = 40

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Photo:
    """A photo that was found.

    Attributes:
        address: Absolute path or s3:// address; with what is asked for, it is the job's identity.
        name: Relative to the folder or prefix.
        state: Changes when the photo does.
    """

    address: str
    name: str
    state: tuple[str | int, ...]


class FolderPhotos:
    """The photos below a folder of this machine. Hidden files and folders are left out.

    Args:
        job_input: Every event's ``input`` without its image.

    Raises:
        EventError: The folder cannot be read, or has no photo.
    """

    def __init__(self, folder: Path, job_input: Mapping[str, Any]) -> None:
        self._job_input = job_input
        try:
            self._photos = _photos_only(_files(folder.absolute()), str(folder))
        except OSError as error:
            raise EventError(f"{folder} cannot be read: {error.strerror}.") from error
        self._jobs = _jobs(self._photos, job_input)

    @property
    def jobs(self) -> Sequence[BatchJob]:
        """Every job, by the photos' names."""
        return self._jobs

    def event(self, job: BatchJob) -> object:
        """Return a job's event with the photo in it.

        Raises:
            EventError: The photo cannot be read.
        """
        image = inline_file(Path(self._photos[job.index].address))
        return {"id": job.job_id, "input": {**self._job_input, "image": image}}


class BucketPhotos:
    """The photos below a prefix of a bucket; the worker fetches each as an ``s3://`` input.

    Args:
        job_input: Every event's ``input`` without its image.

    Raises:
        EventError: There is no photo.
        BotoCoreError: The bucket cannot be listed.
        ClientError: The bucket cannot be listed.
    """

    def __init__(
        self, client: S3Client, bucket: str, prefix: str, job_input: Mapping[str, Any]
    ) -> None:
        self._job_input = job_input
        found = _objects(client, bucket, prefix)
        self._photos = _photos_only(found, f"s3://{bucket}/{prefix}")
        self._jobs = _jobs(self._photos, job_input)

    @property
    def jobs(self) -> Sequence[BatchJob]:
        """Every job, by the photos' keys."""
        return self._jobs

    def event(self, job: BatchJob) -> object:
        """Return a job's event, which names the photo."""
        image = self._photos[job.index].address
        return {"id": job.job_id, "input": {**self._job_input, "image": image}}


def check_results_are_elsewhere(results: str, photos: str) -> None:
    """Refuse to store results where the next run would take them for photos.

    Args:
        results: Address of the folder or prefix that results go to.
        photos: Address of the folder or prefix that photos are read from.

    Raises:
        ConfigurationError: Results would be among the photos.
    """
    if f"{results.rstrip('/')}/".startswith(f"{photos.rstrip('/')}/"):
        raise ConfigurationError(
            f"Results would be stored in {results}, among the photos of {photos}, and be taken for "
            "photos by the next run: set RESULTS_DIR or BUCKET_PREFIX to another place."
        )


def _files(folder: Path) -> Iterable[_Photo]:
    if not folder.is_dir():
        raise NotADirectoryError(20, "it is no folder")
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in relative.parts):
            state = path.stat()
            yield _Photo(str(path), relative.as_posix(), (state.st_size, state.st_mtime_ns))


def _objects(client: S3Client, bucket: str, prefix: str) -> Iterable[_Photo]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    for page in pages:
        for entry in page.get("Contents", []):
            key = entry["Key"]
            yield _Photo(f"s3://{bucket}/{key}", key.removeprefix(prefix), (entry["ETag"],))


def _photos_only(files: Iterable[_Photo], place: str) -> list[_Photo]:
    photos = []
    left_out: Counter[str] = Counter()
    for file in files:
        suffix = PurePosixPath(file.name).suffix.lower()
        if suffix in _photo_suffixes():
            photos.append(file)
        else:
            left_out[suffix] += 1
    if left_out:
        log.warning("files left out, which are no photos", extra={"by_suffix": dict(left_out)})
    if not photos:
        raise EventError(
            f"There is no photo in {place}: files named {', '.join(sorted(_photo_suffixes()))} "
            "are read."
        )
    return photos


@cache
def _photo_suffixes() -> frozenset[str]:
    """Return the file name endings of the formats that inputs are decoded from."""
    from PIL import Image

    from handler.inputs.decode import FORMATS

    endings = Image.registered_extensions().items()
    return frozenset(suffix for suffix, image_format in endings if image_format in FORMATS)


def _jobs(photos: Sequence[_Photo], job_input: Mapping[str, Any]) -> list[BatchJob]:
    jobs = []
    for index, photo in enumerate(photos):
        asked_for = [photo.address, job_input]
        stem = _NOT_IN_AN_ID.sub("-", PurePosixPath(photo.name).stem).strip("-")
        name = stem[:_LONGEST_NAME_IN_AN_ID] or "photo"
        jobs.append(
            BatchJob(
                index,
                job_id=f"{name}-{digest(asked_for)[:16]}",
                # A file's name may be no Unicode.
                source=photo.name.encode(errors="backslashreplace").decode(),
                fingerprint=digest([*asked_for, photo.state]),
            )
        )
    return jobs
