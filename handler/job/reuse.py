"""Answers an identical request from the stored result of an earlier one, without the device."""

from __future__ import annotations

import hashlib
import json
import logging
from typing import TYPE_CHECKING, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from handler.contract.response import OutputFile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from handler.job.request import Request
    from handler.shelf import Shelf

log = logging.getLogger(__name__)


class Digested(Protocol):
    """An image or a file; equal ones have equal digests."""

    @property
    def digest(self) -> str:
        """SHA-256, in hex."""
        ...


class _Record(BaseModel):
    """What an earlier job stored: its files, and the keys below the storage's own prefix."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: list[str]
    outputs: list[OutputFile]


class ReusableResults:
    """Records of stored results, beside them in the storage.

    Two requests are identical if workflow files, parameters (the seed among them), inputs, output
    format and key prefix are. A request whose seed is drawn is therefore never identical to
    another.
    """

    def __init__(self, storage: Shelf) -> None:
        self._storage = storage

    @staticmethod
    def key(request: Request, inputs: Mapping[str, Digested]) -> str:
        """Return what identical requests have in common, and no others."""
        return _record_key(request, inputs)

    def find(
        self, request: Request, inputs: Mapping[str, Digested]
    ) -> tuple[OutputFile, ...] | None:
        """Return the files of an identical earlier job, with fresh URLs, if all are still there.

        Raises:
            StorageError: The storage cannot be read.
        """
        data = self._storage.get(_record_key(request, inputs))
        if data is None:
            return None
        try:
            record = _Record.model_validate_json(data)
        except ValidationError:
            log.warning("record of a reusable result cannot be read")
            return None
        found = []
        for key, output in zip(record.keys, record.outputs, strict=True):
            if output.text is not None:
                found.append(output)
                continue
            # A later job with the same id may have replaced the file by another.
            if not self._storage.has(key, output.sha256):
                return None
            url = self._storage.url(key, expires_in=request.output.url_seconds)
            found.append(output.model_copy(update={"url": url}))
        return tuple(found)

    def remember(
        self,
        request: Request,
        inputs: Mapping[str, Digested],
        keys: Sequence[str],
        outputs: Sequence[OutputFile],
    ) -> None:
        """Write down what a job stored under which keys.

        Raises:
            StorageError: The storage did not take it.
        """
        bare = [output.model_copy(update={"url": None}) for output in outputs]
        record = _Record(keys=list(keys), outputs=bare)
        data = record.model_dump_json().encode()
        self._storage.put(_record_key(request, inputs), data, content_type="application/json")


def _record_key(request: Request, inputs: Mapping[str, Digested]) -> str:
    asked_for = {
        "workflow": request.workflow.digest,
        "values": dict(request.values),
        "images": {name: one.digest for name, one in inputs.items()},
        "output": request.output.model_dump(
            mode="json", include={"format", "quality", "embed_workflow", "prefix"}
        ),
    }
    digest = hashlib.sha256(json.dumps(asked_for, sort_keys=True).encode()).hexdigest()
    # No result's key begins with a dot, so that none can be in the way of a record.
    return f".reuse/{digest}.json"
