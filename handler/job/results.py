"""The step from encoded files to what the caller gets: stored and named by URL, or inline.

A result that cannot be stored is kept on disk, and delivered without another run when the same
job is sent again.
"""

from __future__ import annotations

import base64
import contextlib
import contextvars
import logging
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from comfyui_runtime.errors import ServiceError
from handler.contract.errors import StorageError
from handler.contract.response import OutputFile
from handler.job.content import content_bytes, storable
from handler.job.reuse import ReusableResults
from handler.shelf import result_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from comfyui_runtime.run.cancellation import Cancellation
    from handler.contract.event import Output
    from handler.job.encode import EncodedFile
    from handler.job.kept import KeptJob, KeptResults
    from handler.job.put_addresses import PutAddresses
    from handler.job.request import Request
    from handler.job.reuse import Digested
    from handler.shelf import Shelf


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Results:
    """What was handed over.

    Attributes:
        seed: The seed that made it.
        reused: Whether an earlier, identical request made it.
        warnings: What went wrong beside it, for the caller.
    """

    outputs: tuple[OutputFile, ...]
    seed: int | None
    reused: bool = False
    warnings: tuple[str, ...] = ()


class Delivery:
    """Hands results over.

    Args:
        storage: Where results go that a URL shall name.
        kept: Where results go that the storage did not take.
        stop_grace: Seconds that an upload may go on once its job is told to stop.
        put_addresses: Sends results to addresses of the events' own; ``None`` where none are taken.
    """

    def __init__(
        self,
        storage: Shelf,
        kept: KeptResults,
        stop_grace: float = 30.0,
        put_addresses: PutAddresses | None = None,
    ) -> None:
        self._storage = storage
        self._put_addresses = put_addresses
        self._kept = kept
        self._stop_grace = stop_grace
        self._reusable = ReusableResults(storage)

    def check(self, request: Request, cancellation: Cancellation) -> None:
        """Return if results may go where the event wants them: before the work that makes them.

        Raises:
            EventError: An address of its own is none.
            ForbiddenAddressError: One leads into a network that the worker must not reach.
            ServiceError: The job was cancelled.
        """
        if request.output.put_urls and self._put_addresses is not None:
            self._put_addresses.check(request.output.put_urls, cancellation)

    def reuse_key(self, request: Request, inputs: Mapping[str, Digested]) -> str | None:
        """Return what a request shares with those whose results it may be answered from.

        ``None`` for one that does not allow that.
        """
        return self._reusable.key(request, inputs) if _may_reuse(request) else None

    def deliver_same(self, request: Request, inputs: Mapping[str, Digested]) -> Results | None:
        """Hand over what an identical earlier request left, if the event allows that.

        Storage that cannot be read costs a run, not the job.
        """
        if not _may_reuse(request):
            return None
        try:
            outputs = self._reusable.find(request, inputs)
        except StorageError as error:
            log.warning("reusable results cannot be read", extra={"error": error.message})
            return None
        return None if outputs is None else Results(outputs, request.seed, reused=True)

    def deliver(
        self,
        request: Request,
        inputs: Mapping[str, Digested],
        files: Sequence[EncodedFile],
        cancellation: Cancellation,
    ) -> Results:
        """Hand a job's files over as its event asks.

        The work is done by now: a job that is told to stop has its files kept first, and a while
        for its upload to end.

        Raises:
            StorageError: The storage did not take a file. All files of the job are kept on disk;
                ``details["kept"]`` lists where, or ``details["not_kept"]`` says why they are not.
            ServiceError: The job was told to stop, and its upload did not end in time; see
                :meth:`comfyui_runtime.run.cancellation.Cancellation.check`. The files are kept.
        """
        warnings: tuple[str, ...] = ()
        if request.output.delivery == "base64":
            size = sum(_inline_size(file) for file in files)
            if request.inline_max_bytes is None or size <= request.inline_max_bytes:
                return Results(tuple(_inline(file) for file in files), request.seed)
            warnings = (_too_large_for_inline(size, request.inline_max_bytes),)
            log.warning("results are too large for inline delivery", extra={"bytes": size})
        by_key = {_key(request, index, file): file for index, file in enumerate(files)}
        try:
            stored = self._store_in_time(request, by_key, cancellation)
        except StorageError as error:
            self._keep(request, by_key, error)
            raise
        warnings += self._remember(request, inputs, list(by_key), stored)
        return Results(stored, request.seed, warnings=warnings)

    def deliver_kept(self, request: Request) -> Results | None:
        """Store what an earlier try of this very job left, if it left anything.

        Raises:
            StorageError: The storage still does not take it. It stays kept.
        """
        job = self._kept_job(request)
        if job is None:
            return None
        stored = self._store(request.output, job.files)
        self._forget_kept(request)
        return Results(stored, job.seed)

    def _store_in_time(
        self, request: Request, files: Mapping[str, EncodedFile], cancellation: Cancellation
    ) -> tuple[OutputFile, ...]:
        upload: Future[tuple[OutputFile, ...]] = Future()

        def store() -> None:
            try:
                upload.set_result(self._store(request.output, files))
            except BaseException as error:  # noqa: BLE001 - handed to the waiting thread whole
                upload.set_exception(error)

        ended_or_stopped = threading.Event()
        upload.add_done_callback(lambda _: ended_or_stopped.set())
        # A daemon: a storage that never answers must not keep the process.
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(store,), name="upload", daemon=True).start()
        take_back = cancellation.on_cancel(ended_or_stopped.set)
        try:
            while not (upload.done() or cancellation.requested):
                ended_or_stopped.wait(cancellation.remaining)
        finally:
            take_back()
        if upload.done():
            return upload.result()
        try:
            cancellation.check()
        except ServiceError as reason:
            self._keep(request, files, reason)
            with contextlib.suppress(TimeoutError):
                stored = upload.result(self._stop_grace)
                self._forget_kept(request)
                return stored
            raise
        return upload.result()

    def _store(self, wanted: Output, files: Mapping[str, EncodedFile]) -> tuple[OutputFile, ...]:
        if wanted.put_urls:
            return self._put(wanted.put_urls, list(files.values()))
        outputs = []
        for key, file in files.items():
            if file.text is not None:
                outputs.append(_output_file(file, text=file.text))
                continue
            with storable(file.data) as data:
                self._storage.put(key, data, content_type=file.content_type, sha256=file.sha256)
            url = self._storage.url(key, expires_in=wanted.url_seconds)
            outputs.append(_output_file(file, url=url, key=self._storage.full_key(key)))
        return tuple(outputs)

    def _put(
        self, addresses: Sequence[str], files: Sequence[EncodedFile]
    ) -> tuple[OutputFile, ...]:
        """Send each file to its address; texts are in the response."""
        sent = [file for file in files if file.text is None]
        if self._put_addresses is None or len(sent) > len(addresses):
            raise StorageError(
                f"The workflow made {len(sent)} files, and output.put_urls has {len(addresses)} "
                "addresses. Send the job again with one for each file.",
                files=len(sent),
                addresses=len(addresses),
            )
        left = iter(addresses)
        return tuple(
            _output_file(file, text=file.text)
            if file.text is not None
            else _output_file(
                file, url=self._put_addresses.put(next(left), file.data, file.content_type)
            )
            for file in files
        )

    def _remember(
        self,
        request: Request,
        inputs: Mapping[str, Digested],
        keys: Sequence[str],
        stored: Sequence[OutputFile],
    ) -> tuple[str, ...]:
        """Let identical requests find what was stored. This one is done, whether they can or not.

        Returns:
            Warnings.
        """
        if not _may_reuse(request):
            return ()
        try:
            self._reusable.remember(request, inputs, keys, stored)
        except StorageError as error:
            log.warning("reusable result not recorded", extra={"error": error.message})
            warning = (
                "The result is stored, but an identical request will be run again, for its "
                f"record could not be written: {error.message}"
            )
            return (warning,)
        return ()

    def _keep(
        self, request: Request, files: Mapping[str, EncodedFile], failed: ServiceError
    ) -> None:
        """Keep files on disk, and say in the error that told of their loss what came of it."""
        try:
            failed.details["kept"] = list(self._kept.keep(request, files))
        except StorageError as error:
            log.warning("results cannot be kept", extra={"error": error.message})
            failed.details["not_kept"] = error.message
            failed.message += (
                " The result could not be kept on the worker either: the job has to run again."
            )
        else:
            failed.message += (
                " The result is kept on the worker; sending the same job again stores it without "
                "another run."
            )

    def _forget_kept(self, request: Request) -> None:
        try:
            self._kept.forget(request)
        except StorageError as error:
            log.warning("kept results cannot be removed", extra={"error": error.message})

    def _kept_job(self, request: Request) -> KeptJob | None:
        try:
            return self._kept.take(request)
        except StorageError as error:
            # A job that needs no kept result can do without the folder.
            log.warning("kept results cannot be read", extra={"error": error.message})
            return None


def _may_reuse(request: Request) -> bool:
    return request.output.reuse and request.output.delivery == "url"


def _key(request: Request, index: int, file: EncodedFile) -> str:
    return result_key(request.job_id, index, file.extension, request.output.prefix)


def _too_large_for_inline(size: int, limit: int) -> str:
    return (
        f"The results have {size} bytes as base64, and the platform passes on {limit}: they are "
        "stored, and named by URL."
    )


def _inline_size(file: EncodedFile) -> int:
    """Return the bytes that a file takes in the response, before it is read from the disk."""
    around = _output_file(file) if file.text is None else _inline(file)
    in_base64 = 0 if file.text is not None else -(-file.size // 3) * 4
    return len(around.model_dump_json().encode()) + in_base64


def _inline(file: EncodedFile) -> OutputFile:
    if file.text is not None:
        return _output_file(file, text=file.text)
    return _output_file(file, base64=base64.b64encode(content_bytes(file.data)).decode())


def _output_file(file: EncodedFile, **where: str) -> OutputFile:
    return OutputFile(
        **where,
        node_id=file.node_id,
        filename=file.filename,
        kind=file.kind,
        content_type=file.content_type,
        width=file.width,
        height=file.height,
        duration=file.duration,
        frame_rate=file.frame_rate,
        sample_rate=file.sample_rate,
        bytes=file.size,
        sha256=file.sha256,
        blake3=file.blake3,
    )
