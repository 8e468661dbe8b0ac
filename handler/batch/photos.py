"""Photos of a folder or of a bucket's prefix, each a job with the same workflow and parameters."""

from __future__ import annotations

import logging
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from handler.batch.jobs import BatchJob, digest
from handler.contract.errors import ConfigurationError, EventError
from handler.inputs.local_images import inline_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from handler.settings import Settings
    from handler.shelf import BucketAddress

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


class Photos:
    """Photos as a list of jobs.

    Args:
        job_input: Every event's ``input`` without its image.
        image_of: Gives an event's image for a photo's address.
    """

    def __init__(
        self,
        photos: Sequence[_Photo],
        job_input: Mapping[str, Any],
        image_of: Callable[[str], str],
    ) -> None:
        self._photos = photos
        self._job_input = job_input
        self._image_of = image_of
        self._jobs = _jobs(photos, job_input)

    @property
    def jobs(self) -> Sequence[BatchJob]:
        """Every job, by the photos' names."""
        return self._jobs

    def event(self, job: BatchJob) -> object:
        """Return a job's event.

        Raises:
            EventError: The photo cannot be read.
        """
        image = self._image_of(self._photos[job.index].address)
        return {"id": job.job_id, "input": {**self._job_input, "image": image}}


def folder_photos(folder: Path, job_input: Mapping[str, Any]) -> Photos:
    """Return the photos below a folder of this machine. Hidden files and folders are left out.

    Each is put into its job's event.

    Args:
        job_input: Every event's ``input`` without its image.

    Raises:
        EventError: The folder cannot be read, or has no photo.
    """
    try:
        photos = _photos_only(_files(folder.absolute()), str(folder))
    except OSError as error:
        raise EventError(f"{folder} cannot be read: {error.strerror}.") from error
    return Photos(photos, job_input, lambda address: inline_file(Path(address)))


def bucket_photos(
    settings: Settings, address: BucketAddress, job_input: Mapping[str, Any]
) -> Photos:
    """Return the photos below a prefix of a bucket; the worker fetches each by its address.

    Args:
        job_input: Every event's ``input`` without its image.

    Raises:
        EventError: There is no photo.
        StorageError: The bucket cannot be listed.
    """
    place = f"s3://{address.bucket}/{address.folder}"
    found = (
        _Photo(place + entry.key, entry.key, entry.version)
        for entry in address.open(settings).list()
    )
    return Photos(_photos_only(found, place), job_input, str)


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
