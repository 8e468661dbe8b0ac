"""The files of one job: fetched to the disk, looked at, and removed when the job has ended."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

from comfyui_runtime.in_process.scratch import make_scratch
from comfyui_runtime.workflow.files import InputFile, extension_of
from handler.contract.errors import NotMediaError
from handler.inputs.media import MediaLimits, check_media
from handler.inputs.time_limit import TimeLimit
from handler.inputs.wanted import Wanted

if TYPE_CHECKING:
    from collections.abc import Callable

    from comfyui_runtime.run.cancellation import Cancellation
    from comfyui_runtime.workflow.files import Media
    from handler.settings import Settings

    Read = Callable[[Wanted, str, TimeLimit, BinaryIO], None]

_PREFIX = "comfyui-inputs-"
_GLB_MAGIC = b"glTF"


class FilesFolder:
    """A folder of this process for its jobs' files, made when the first file comes.

    What killed processes left in theirs is removed then.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folder: Path | None = None

    def for_job(self) -> Path:
        """Return a new folder for one job."""
        with self._lock:
            if self._folder is None:
                scratch = make_scratch(_PREFIX)
                weakref.finalize(self, scratch.remove)
                self._folder = scratch.folder
        return Path(tempfile.mkdtemp(dir=self._folder))


class JobFiles:
    """Fetches a job's files. Use as a context manager: at its end they are gone.

    Args:
        settings: Limits.
        read: Writes what a source gives to a file.
        folder: Where a job's folder is made.
    """

    def __init__(self, settings: Settings, read: Read, folder: FilesFolder) -> None:
        self._settings = settings
        self._read = read
        self._all = folder
        self._folder: Path | None = None
        self._bytes_left = settings.input_file_max_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def fetch(
        self, name: str, source: str, media: Media, extension: str, cancellation: Cancellation
    ) -> InputFile:
        """Get one file.

        Args:
            name: The file's name in the event, for messages.
            source: An http(s) URL, a data URI, base64, or s3://bucket/key.
            extension: What a file that is not looked into is called by; one of the same kind of
                file that the source's address has is taken in its place.
            cancellation: The job's; looked at several times a second while waiting.

        Raises:
            InputError: The file cannot be had; the subclass says whose matter it is.
            CancelledError: The job was cancelled.
            DeadlineError: The job's time is up.
        """
        cancellation.check()
        wanted = Wanted(name, self._bytes_left, "file")
        limit = TimeLimit(self._settings.input_file_timeout, cancellation)
        if self._folder is None:
            self._folder = self._all.for_job()
        path = self._folder / str(len(list(self._folder.iterdir())))
        with path.open("w+b") as file:
            self._read(wanted, source, limit, file)
            file.seek(0)
            start = file.read(len(_GLB_MAGIC))
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._bytes_left -= path.stat().st_size
        if media == "file":
            extension = extension_of(source, like=extension)
            if extension == "glb" and start != _GLB_MAGIC:
                raise NotMediaError(f"{wanted} is not a model in binary glTF.", **wanted.details)
        else:
            extension = check_media(wanted, path, media, MediaLimits.of(self._settings), limit)
        return InputFile(path, digest, extension)
