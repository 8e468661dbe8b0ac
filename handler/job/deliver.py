"""The step from encoded files to what the caller gets: stored and named by URL, or inline.

A result that cannot be stored is kept on disk, and delivered without another run when the same
job is sent again.
"""

from __future__ import annotations

import base64
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from handler.contract.errors import StorageError
from handler.contract.response import OutputFile
from handler.job.encode import named_file
from handler.job.reuse import ReusableResults
from handler.shelf import result_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from comfyui_runtime.workflow.images import PixelImage
    from handler.job.encode import EncodedFile
    from handler.job.request import Request
    from handler.shelf import KeptResults, Storage


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncodedOutput:
    """An output node's file, ready to be stored."""

    node_id: str
    file: EncodedFile


@dataclass(frozen=True)
class Delivered:
    """What was handed over.

    Attributes:
        seed: The seed that made it.
        reused: Whether an earlier, identical request made it.
    """

    outputs: tuple[OutputFile, ...]
    seed: int | None
    reused: bool = False


class _KeptJob(BaseModel):
    """What is written down beside the files of a job that could not be stored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    seed: int | None
    keys: list[str]
    node_ids: list[str]


class Delivery:
    """Hands results over.

    Args:
        storage: Where results go that a URL shall name.
        kept: Where results go that the storage did not take.
    """

    def __init__(self, storage: Storage, kept: KeptResults) -> None:
        self._storage = storage
        self._kept = kept
        self._reusable = ReusableResults(storage)

    def reuse_key(self, request: Request, images: Mapping[str, PixelImage]) -> str | None:
        """Return what a request shares with those whose results it may be answered from.

        ``None`` for one that does not allow that.
        """
        return self._reusable.key(request, images) if _may_reuse(request) else None

    def deliver_same(self, request: Request, images: Mapping[str, PixelImage]) -> Delivered | None:
        """Hand over what an identical earlier request left, if the event allows that.

        Storage that cannot be read costs a run, not the job.
        """
        if not _may_reuse(request):
            return None
        try:
            outputs = self._reusable.find(request, images)
        except StorageError as error:
            log.warning("reusable results cannot be read", extra={"error": error.message})
            return None
        return None if outputs is None else Delivered(outputs, request.seed, reused=True)

    def deliver(
        self,
        request: Request,
        images: Mapping[str, PixelImage],
        outputs: Sequence[EncodedOutput],
    ) -> Delivered:
        """Hand a job's files over as its event asks.

        Raises:
            StorageError: The storage did not take a file. All files of the job are kept on disk;
                ``details["kept"]`` lists where.
        """
        if request.output.delivery == "base64":
            inline = tuple(_inline(output) for output in outputs)
            return Delivered(inline, request.seed)
        keys = _keys(request, outputs)
        try:
            stored = tuple(
                self._store(request, key, output) for key, output in zip(keys, outputs, strict=True)
            )
            if _may_reuse(request):
                self._reusable.remember(request, images, keys, stored)
        except StorageError as error:
            error.details["kept"] = list(self._keep(request, outputs))
            error.message += (
                " The result is kept on the worker; sending the same job again stores it without "
                "another run."
            )
            raise
        return Delivered(stored, request.seed)

    def deliver_kept(self, request: Request) -> Delivered | None:
        """Store what an earlier try of this very job left, if it left anything.

        Raises:
            StorageError: The storage still does not take it. It stays kept.
        """
        try:
            job = self._kept_job(request)
        except StorageError as error:
            # A job that needs no kept result can do without the folder.
            log.warning("kept results cannot be read", extra={"error": error.message})
            return None
        if job is None:
            return None
        files = [self._kept.take(key) for key in job.keys]
        outputs = [
            EncodedOutput(node_id, file)
            for node_id, file in zip(job.node_ids, files, strict=True)
            if file is not None
        ]
        if len(outputs) != len(job.keys):
            return None
        stored = tuple(
            self._store(request, key, output) for key, output in zip(job.keys, outputs, strict=True)
        )
        for key in (*job.keys, _record_key(request)):
            self._kept.forget(key)
        return Delivered(stored, job.seed)

    def _store(self, request: Request, key: str, output: EncodedOutput) -> OutputFile:
        stored = self._storage.store(output.file, key, request.output)
        return _output_file(output, url=stored.url, key=stored.key)

    def _keep(self, request: Request, outputs: Sequence[EncodedOutput]) -> list[str]:
        keys = _keys(request, outputs)
        paths = [
            str(self._kept.keep(key, output.file))
            for key, output in zip(keys, outputs, strict=True)
        ]
        job = _KeptJob(
            fingerprint=request.fingerprint,
            seed=request.seed,
            keys=keys,
            node_ids=[output.node_id for output in outputs],
        )
        # Written last: a record names only files that are there.
        record = named_file("record.json", job.model_dump_json().encode())
        self._kept.keep(_record_key(request), record)
        return paths

    def _kept_job(self, request: Request) -> _KeptJob | None:
        record = self._kept.take(_record_key(request))
        if record is None:
            return None
        try:
            job = _KeptJob.model_validate_json(record.data)
        except ValidationError:
            return None
        return job if job.fingerprint == request.fingerprint else None


def _may_reuse(request: Request) -> bool:
    return request.output.reuse and request.output.delivery == "url"


def _keys(request: Request, outputs: Sequence[EncodedOutput]) -> list[str]:
    return [
        result_key(request.job_id, index, output.file.extension, request.output.prefix)
        for index, output in enumerate(outputs)
    ]


def _record_key(request: Request) -> str:
    return result_key(request.job_id, 0, "kept", request.output.prefix)


def _inline(output: EncodedOutput) -> OutputFile:
    return _output_file(output, base64=base64.b64encode(output.file.data).decode())


def _output_file(output: EncodedOutput, **where: str) -> OutputFile:
    file = output.file
    return OutputFile(
        **where,
        node_id=output.node_id,
        content_type=file.content_type,
        width=file.width,
        height=file.height,
        bytes=file.size,
        sha256=file.sha256,
    )
