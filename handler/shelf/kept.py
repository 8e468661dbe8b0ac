"""Results whose upload failed, kept until the job is sent again."""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from handler.contract.errors import StorageError
from handler.job.encode import EncodedFile
from handler.shelf.atomic_file import PARTIAL_SUFFIX, write_atomically

if TYPE_CHECKING:
    from handler.settings import Settings

# Where RunPod mounts a network volume in a serverless worker; it outlives the worker.
_RUNPOD_VOLUME = Path("/runpod-volume")
_FOLDER_ON_VOLUME = "unsent-results"
_FOLDER_IN_RESULTS = "unsent"
_RECORD_SUFFIX = ".record.json"
_OWN_NAME = re.compile(
    rf"(?P<stem>[0-9a-f]{{64}})(?:-[0-9a-f]{{16}}\.\w+|{re.escape(_RECORD_SUFFIX)})"
    rf"|(?P<partial>\.\w+{re.escape(PARTIAL_SUFFIX)})"
)

_logger = logging.getLogger(__name__)


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


class KeptResults:
    """Results kept in a folder, each under the key it was to be stored with.

    A result is a content file and, beside it, a record in JSON. The content is written first and
    its name holds its hash, so that whenever a process dies a record stands for a whole file.
    Several workers may share the folder.

    Args:
        folder: Made when something is kept.
        max_bytes: Most that may be kept in all. Over it the oldest results go; the one that was
            kept last stays whatever its size.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder.absolute()
        self._max_bytes = max_bytes

    def keep(self, key: str, file: EncodedFile) -> Path:
        """Keep a result; one that is kept under the key already is replaced.

        Returns:
            Where the content is, for an operator to fetch by hand.

        Raises:
            StorageError: It could not be written.
        """
        record = _Record(
            key=key,
            content_type=file.content_type,
            extension=file.extension,
            width=file.width,
            height=file.height,
            sha256=file.sha256,
        )
        content = self._content_path(record)
        try:
            write_atomically(content, file.data)
            write_atomically(self._record_path(key), record.model_dump_json(indent=2).encode())
            self._remove_contents(key, but=content)
            self._make_room(_stem(key))
        except OSError as error:
            raise self._unusable(error) from error
        _logger.info("result kept", extra={"key": key, "path": str(content)})
        return content

    def take(self, key: str) -> EncodedFile | None:
        """Return the result kept under a key; ``None`` when there is none, or it was damaged.

        It stays until :meth:`forget`.

        Raises:
            StorageError: The folder cannot be read.
        """
        try:
            record = _Record.model_validate_json(self._record_path(key).read_bytes())
            data = self._content_path(record).read_bytes()
        except FileNotFoundError:
            return None
        except ValidationError:
            _logger.warning("kept_result_damaged", extra={"key": key})
            return None
        except OSError as error:
            raise self._unusable(error) from error
        file = EncodedFile(data, record.content_type, record.extension, record.width, record.height)
        if file.sha256 != record.sha256:
            _logger.warning("kept_result_damaged", extra={"key": key})
            return None
        return file

    def forget(self, key: str) -> None:
        """Remove what is kept under a key, if anything.

        Raises:
            StorageError: It could not be removed.
        """
        try:
            self._record_path(key).unlink(missing_ok=True)
            self._remove_contents(key)
        except OSError as error:
            raise self._unusable(error) from error

    def _record_path(self, key: str) -> Path:
        return self._folder / f"{_stem(key)}{_RECORD_SUFFIX}"

    def _content_path(self, record: _Record) -> Path:
        return self._folder / f"{_stem(record.key)}-{record.sha256[:16]}.{record.extension}"

    def _remove_contents(self, key: str, *, but: Path | None = None) -> None:
        for path in self._folder.glob(f"{_stem(key)}-*"):
            if path != but:
                path.unlink(missing_ok=True)

    def _make_room(self, newest: str) -> None:
        results = sorted(self._list(), key=lambda result: result.written_at)
        total = sum(result.size for result in results)
        for result in results:
            if total <= self._max_bytes:
                break
            if result.stem == newest:
                continue
            result.remove()
            total -= result.size
            _logger.warning(
                "kept_result_dropped",
                extra={"path": str(result.files[0]), "bytes": result.size, "of": self._max_bytes},
            )

    def _list(self) -> list[_KeptFiles]:
        """Return every result, and what a process that died left half written, as files."""
        groups: dict[str, list[Path]] = {}
        for path in self._folder.iterdir():
            if match := _OWN_NAME.fullmatch(path.name):
                groups.setdefault(match["stem"] or match["partial"], []).append(path)
        results = []
        for stem, files in groups.items():
            try:
                states = [path.stat() for path in files]
            except FileNotFoundError:
                continue  # another worker has removed it since
            results.append(
                _KeptFiles(
                    stem,
                    tuple(files),
                    sum(state.st_size for state in states),
                    max(state.st_mtime for state in states),
                )
            )
        return results

    def _unusable(self, error: OSError) -> StorageError:
        return StorageError(
            f"The folder {self._folder} for unsent results cannot be used ({error.strerror}): "
            "free space or rights there, or set KEPT_RESULTS_DIR to another folder.",
            folder=str(self._folder),
        )


class _Record(BaseModel):
    """What is known of a kept file; stands beside it as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    key: str
    content_type: str
    extension: str
    width: int | None
    height: int | None
    sha256: str


@dataclass(frozen=True)
class _KeptFiles:
    """The files of one result.

    Attributes:
        stem: What their names begin with.
        files: At least one.
        size: Bytes of all together.
        written_at: Seconds since the epoch, of the latest.
    """

    stem: str
    files: tuple[Path, ...]
    size: int
    written_at: float

    def remove(self) -> None:
        # The record goes first: without it a content file is only a leftover.
        for path in sorted(self.files, key=lambda path: not path.name.endswith(_RECORD_SUFFIX)):
            path.unlink(missing_ok=True)


def _stem(key: str) -> str:
    """Name for a key: of fixed length, and free of what a path could make of the key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
