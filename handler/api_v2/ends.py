"""From a job's response to the record of its end."""

from __future__ import annotations

import time
from pathlib import PurePath
from typing import TYPE_CHECKING

from handler.api_v2.ids import MOST_OUTPUTS
from handler.api_v2.records import Ended, ErrorRecord, OutputRecord, ProgressRecord, Running
from handler.contract.errors import WorkerLostError
from handler.contract.response import Success

if TYPE_CHECKING:
    from handler.api_v2.records import EndStatus, OutputType
    from handler.contract.response import ErrorBody, OutputFile, Response

CANCELLED = "cancelled"
_CODES = {
    "node_failed": "node_execution_error",
    "invalid_graph": "invalid_workflow",
    "missing_node_class": "invalid_workflow",
}
_KINDS: dict[str, OutputType] = {
    "image": "image",
    "video": "video",
    "audio": "audio",
    "text": "text",
}


def end_of(response: Response, run: Running, nodes_total: int, key_prefix: str) -> Ended:
    """Return the record of a job's end.

    Args:
        run: How far the job was.
        key_prefix: What the shelf puts before its keys, which a response's keys have.
    """
    now = time.time()
    if isinstance(response, Success):
        outputs = response.outputs[:MOST_OUTPUTS]
        return Ended(
            status="succeeded",
            started_at=run.started_at or now,
            completed_at=now,
            progress=ProgressRecord(value=1.0, nodes_done=nodes_total, nodes_total=nodes_total),
            outputs=tuple(
                _output(place, output, key_prefix) for place, output in enumerate(outputs)
            ),
            execution_ms=round(response.timings.run * 1000),
            log=run.log,
        )
    if response.error.code == CANCELLED:
        return cancelled(run)
    error = _error(response.error)
    if error.code == WorkerLostError.code and run.progress is not None:
        # The worker that tells of it was not there.
        node = {
            "node_id": run.progress.current_node,
            "class_type": run.progress.current_node_class,
        }
        error = error.model_copy(update=node)
    return _ended("failed", run, error)


def cancelled(run: Running) -> Ended:
    """Return the end of a job that was cancelled."""
    return _ended("canceled", run)


def lost(run: Running) -> Ended:
    """Return the end of a job whose worker is gone."""
    node = run.progress.current_node if run.progress else None
    at = f", in node {node}" if node else ""
    error = ErrorRecord(
        code=WorkerLostError.code,
        message=f"The worker that had the job is gone{at}. Submit it again.",
        node_id=node,
        class_type=run.progress.current_node_class if run.progress else None,
        retryable=True,
    )
    return _ended("failed", run, error)


def _ended(status: EndStatus, run: Running, error: ErrorRecord | None = None) -> Ended:
    return Ended(
        status=status,
        started_at=run.started_at,
        completed_at=time.time(),
        progress=run.progress,
        error=error,
        log=run.log,
    )


def _output(place: int, output: OutputFile, key_prefix: str) -> OutputRecord:
    key = (output.key or "").removeprefix(key_prefix)
    name = output.filename or PurePath(key).name or f"text_{place:05}_.txt"
    return OutputRecord(
        place=place,
        node_id=output.node_id,
        name=name,
        type=_type(output.content_type, name),
        content_type=output.content_type,
        size_bytes=output.bytes,
        hash=None if output.blake3 is None else f"blake3:{output.blake3}",
        key=key,
        text=output.text,
    )


def _type(content_type: str, name: str) -> OutputType:
    if name.endswith(".latent"):
        return "latent"
    return _KINDS.get(content_type.partition("/")[0], "file")


def _error(error: ErrorBody) -> ErrorRecord:
    def text(name: str) -> str | None:
        value = error.details.get(name)
        return value if isinstance(value, str) else None

    return ErrorRecord(
        code=_CODES.get(error.code, error.code),
        message=error.message,
        node_id=text("node_id"),
        class_type=text("class_type"),
        traceback=text("traceback"),
        retryable=error.retryable,
    )
