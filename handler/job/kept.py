"""Results whose upload failed, kept until the job is sent again."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from comfyui_runtime.run.outputs import MAX_IN_MEMORY
from handler.job.content import storable
from handler.job.encode import EncodedFile
from handler.shelf import FolderShelf, result_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from handler.job.request import Request
    from handler.settings import Settings
    from handler.shelf import Entry

# Where RunPod mounts a network volume in a serverless worker; it outlives the worker.
_RUNPOD_VOLUME = Path("/runpod-volume")
_FOLDER_ON_VOLUME = "unsent-results"
# No result's key begins with a dot, and no file whose name does is served.
_FOLDER_IN_RESULTS = ".unsent"
_OWN_NAME = re.compile(r"(?P<stem>[0-9a-f]{64})(?:-[0-9a-f]{16}\.\w+|(?:\.record)?\.json)")

log = logging.getLogger(__name__)


def open_kept_results(settings: Settings) -> KeptResults:
    """Return the kept results in KEPT_RESULTS_DIR, else on RunPod's volume, else in RESULTS_DIR.

    Nothing is written before something is kept.
    """
    return KeptResults(_folder(settings), settings.kept_results_max_bytes)


def is_kept_result(settings: Settings, path: Path) -> bool:
    """Say whether a file is one that is kept, and so nobody's to fetch under a guessed address."""
    kept = path.resolve().is_relative_to(_folder(settings).resolve())
    return kept and _OWN_NAME.fullmatch(path.name) is not None


def _folder(settings: Settings) -> Path:
    if settings.kept_results_dir is not None:
        return settings.kept_results_dir
    if _RUNPOD_VOLUME.is_dir():
        return _RUNPOD_VOLUME / _FOLDER_ON_VOLUME
    return settings.results_dir / _FOLDER_IN_RESULTS


@dataclass(frozen=True)
class KeptJob:
    """What an earlier try of a job made.

    Attributes:
        files: By the keys that they were to be stored under.
    """

    seed: int | None
    files: Mapping[str, EncodedFile]


class KeptResults:
    """Results of jobs, kept in a folder.

    A job's files stand beside its record in JSON. They are written first and their names hold
    their hashes, so that whenever a process dies a record stands for whole files. Several workers
    may share the folder.

    Args:
        folder: Made when something is kept.
        max_bytes: Most that may be kept in all. Over it the oldest jobs go; the one that was kept
            last stays whatever its size.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._shelf = FolderShelf(folder, "set KEPT_RESULTS_DIR to another folder")
        self._max_bytes = max_bytes

    def keep(self, request: Request, files: Mapping[str, EncodedFile]) -> list[str]:
        """Keep a job's files; those that are kept for the same job already are replaced.

        Args:
            files: By the keys that they are to be stored under.

        Returns:
            Where the files are, for an operator to fetch by hand.

        Raises:
            StorageError: They could not be written.
        """
        stem = _stem(request)
        names = {key: _name(stem, file) for key, file in files.items()}
        for key, file in files.items():
            with storable(file.data) as data:
                self._shelf.put(names[key], data)
        record = _Record(
            fingerprint=request.fingerprint,
            seed=request.seed,
            files=[_RecordedFile.of(key, names[key], file) for key, file in files.items()],
        )
        self._shelf.put(_record_name(stem), record.model_dump_json(indent=2).encode())
        self._remove_files(stem, but=set(names.values()))
        self._make_room(stem)
        paths = [str(self._shelf.folder / name) for name in names.values()]
        log.info("result kept", extra={"paths": paths})
        return paths

    def take(self, request: Request) -> KeptJob | None:
        """Return what is kept of this very request; ``None`` for nothing, or if it was damaged.

        It stays until :meth:`forget`.

        Raises:
            StorageError: The folder cannot be read.
        """
        data = self._shelf.get(_record_name(_stem(request)))
        if data is None:
            return None
        try:
            record = _Record.model_validate_json(data)
        except ValidationError:
            log.warning("kept_result_damaged", extra={"job": request.job_id})
            return None
        if record.fingerprint != request.fingerprint:
            return None
        files = {}
        for recorded in record.files:
            path = self._shelf.folder / recorded.name
            file = recorded.with_content(path) if path.is_file() else None
            if file is None:
                log.warning("kept_result_damaged", extra={"key": recorded.key})
                return None
            files[recorded.key] = file
        return KeptJob(record.seed, files)

    def forget(self, request: Request) -> None:
        """Remove what is kept of a job, if anything.

        Raises:
            StorageError: It could not be removed.
        """
        stem = _stem(request)
        self._shelf.delete(_record_name(stem))
        self._remove_files(stem, but=set())

    def _remove_files(self, stem: str, *, but: set[str]) -> None:
        for entry in self._shelf.list(f"{stem}-"):
            if entry.key not in but:
                self._shelf.delete(entry.key)

    def _make_room(self, newest: str) -> None:
        jobs: dict[str, _Files] = {}
        for entry in self._shelf.list():
            if match := _OWN_NAME.fullmatch(entry.key):
                jobs.setdefault(match["stem"], _Files()).entries.append(entry)
        total = sum(files.size for files in jobs.values())
        for stem, files in sorted(jobs.items(), key=lambda item: item[1].written_at):
            if total <= self._max_bytes:
                break
            if stem == newest:
                continue
            # The record goes first: without it a file is only a leftover.
            self._shelf.delete(_record_name(stem))
            for entry in files.entries:
                self._shelf.delete(entry.key)
            total -= files.size
            dropped = {"files": [entry.key for entry in files.entries], "bytes": files.size}
            log.warning("kept_result_dropped", extra={**dropped, "of": self._max_bytes})


class _RecordedFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    key: str
    name: str
    node_id: str
    content_type: str
    extension: str
    width: int | None
    height: int | None
    duration: float | None = None
    frame_rate: float | None = None
    sample_rate: int | None = None
    inline: bool = False
    sha256: str
    filename: str | None = None

    @classmethod
    def of(cls, key: str, name: str, file: EncodedFile) -> _RecordedFile:
        return cls(
            key=key,
            name=name,
            node_id=file.node_id,
            content_type=file.content_type,
            extension=file.extension,
            width=file.width,
            height=file.height,
            duration=file.duration,
            frame_rate=file.frame_rate,
            sample_rate=file.sample_rate,
            inline=file.inline,
            sha256=file.sha256,
            filename=file.filename,
        )

    def with_content(self, path: Path) -> EncodedFile | None:
        """Return the file; ``None`` if this is not its content."""
        data = path.read_bytes() if path.stat().st_size <= MAX_IN_MEMORY else path
        known = self.model_dump(exclude={"key", "name", "sha256"})
        file = EncodedFile(data=data, **known)
        return file if file.sha256 == self.sha256 else None


class _Record(BaseModel):
    """What stands beside a job's files."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    fingerprint: str
    seed: int | None
    files: list[_RecordedFile]


@dataclass(frozen=True)
class _Files:
    """A job's files, the record among them."""

    entries: list[Entry] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.entries)

    @property
    def written_at(self) -> float:
        return max(entry.written_at for entry in self.entries)


def _stem(request: Request) -> str:
    """Name for a job: of fixed length, and free of what a path could make of its id."""
    key = result_key(request.job_id, 0, "kept", request.output.prefix)
    return sha256(key.encode()).hexdigest()


def _name(stem: str, file: EncodedFile) -> str:
    return f"{stem}-{file.sha256[:16]}.{file.extension}"


def _record_name(stem: str) -> str:
    return f"{stem}.json"
