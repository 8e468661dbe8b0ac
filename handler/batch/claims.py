"""Claims: how several workers share one list without doing a job twice.

A claim is a file that only one worker can create. It is held by that worker for as long as the
worker lives, which its heartbeat shows: a number that changes. Who watches a heartbeat for the
length of its lease and sees no change, by his own clock alone, may take the claim over. He does so
by creating the claim's next generation, which again only one can. Generations are never removed
while the batch runs, so that at any time the highest one tells the holder, and the number of those
that were not given back tells how many workers died with the job.
"""

from __future__ import annotations

import hashlib
import logging
import socket
import threading
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from comfyui_runtime.errors import ServiceError
from handler.batch.process import ProcessIdentity, own_identity

if TYPE_CHECKING:
    from handler.batch.claim_store import ClaimStore

_BEATS_PER_LEASE = 4

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Claim:
    """A job that this worker holds.

    Attributes:
        generation: From 1; one more each time that the job changed hands.
        lost: How many workers died while they held the job.
    """

    job_id: str
    generation: int
    lost: int


class ClaimKeeper(Protocol):
    """Decides which worker does a job."""

    def start(self) -> None:
        """Show from now on that this worker lives."""

    def take(self, job_id: str) -> Claim | None:
        """Claim a job; ``None`` while another worker holds it."""

    def still_held(self, claim: Claim) -> bool:
        """Say whether no other worker has taken the job over."""

    def give_back(self, claim: Claim) -> None:
        """Let another worker take the job."""

    def close(self) -> None:
        """End the heartbeat. What was not given back counts as lost with this worker."""

    def clear(self) -> None:
        """Remove all claims, when every job is done."""


class _Heartbeat(BaseModel):
    model_config = ConfigDict(frozen=True)

    beat: int
    lease: float
    process: ProcessIdentity | None


class _Holder(BaseModel):
    model_config = ConfigDict(frozen=True)

    worker: str = ""
    given_back: bool = False


@dataclass(frozen=True)
class _Seen:
    data: bytes | None
    since: float


class Claims:
    """Claims in a store that all workers of the batch share.

    Args:
        lease: Seconds without a heartbeat after which this worker counts as dead. Longer than
            any pause of the process or of the store.
    """

    def __init__(self, store: ClaimStore, lease: float) -> None:
        self._store = store
        self._lease = lease
        self._worker = f"{socket.gethostname()}-{uuid.uuid4().hex[:12]}"
        self._process = own_identity()
        self._seen: dict[str, _Seen] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Show from now on that this worker lives; before the first claim.

        Raises:
            StorageError: The store cannot be written to.
        """
        self._beat(0)
        self._thread.start()

    def take(self, job_id: str) -> Claim | None:
        """Claim a job; ``None`` while another worker holds it.

        Raises:
            StorageError: The store cannot be used.
        """
        mine = _Holder(worker=self._worker).model_dump_json().encode()
        if self._store.create(_name(job_id, 1), mine):
            return Claim(job_id, 1, 0)
        holders = self._holders(job_id)
        last = holders[-1] if holders else None
        lost = sum(not holder.given_back for holder in holders)
        if last is not None and not last.given_back:
            if last.worker == self._worker:
                # Made by a request whose answer did not arrive.
                return Claim(job_id, len(holders), lost - 1)
            if not self._is_dead(last.worker):
                return None
        generation = len(holders) + 1
        if not self._store.create(_name(job_id, generation), mine):
            return None
        return Claim(job_id, generation, lost)

    def still_held(self, claim: Claim) -> bool:
        """Say whether no other worker has taken the job over.

        Raises:
            StorageError: The store cannot be used.
        """
        return self._store.read(_name(claim.job_id, claim.generation + 1)) is None

    def give_back(self, claim: Claim) -> None:
        """Let another worker take the job at once.

        Raises:
            StorageError: The store cannot be used.
        """
        holder = _Holder(worker=self._worker, given_back=True)
        name = _name(claim.job_id, claim.generation)
        self._store.replace(name, holder.model_dump_json().encode())

    def close(self) -> None:
        """End the heartbeat."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(self._lease)

    def clear(self) -> None:
        """Remove all claims, when every job is done.

        Raises:
            StorageError: They cannot be removed.
        """
        self._store.clear()

    def _holders(self, job_id: str) -> list[_Holder]:
        holders: list[_Holder] = []
        while (data := self._store.read(_name(job_id, len(holders) + 1))) is not None:
            try:
                holders.append(_Holder.model_validate_json(data))
            except ValidationError:
                holders.append(_Holder())  # whoever made it died before he wrote his name
        return holders

    def _is_dead(self, worker: str) -> bool:
        data = self._store.read(_heartbeat_name(worker))
        heartbeat = None
        if data is not None:
            heartbeat = _Heartbeat.model_validate_json(data)
            if heartbeat.process is not None and heartbeat.process.is_gone:
                return True
        seen = self._seen.get(worker)
        if seen is None or seen.data != data:
            self._seen[worker] = _Seen(data, time.monotonic())
            return False
        lease = self._lease if heartbeat is None else heartbeat.lease
        return time.monotonic() - seen.since >= lease

    def _beat_on(self) -> None:
        number = 0
        while not self._closing.wait(self._lease / _BEATS_PER_LEASE):
            number += 1
            try:
                self._beat(number)
            except ServiceError as error:
                log.warning("heartbeat not written", extra={"error": error.message})

    def _beat(self, number: int) -> None:
        heartbeat = _Heartbeat(beat=number, lease=self._lease, process=self._process)
        self._store.replace(_heartbeat_name(self._worker), heartbeat.model_dump_json().encode())


class NoClaims:
    """For a worker whose share no other worker has."""

    def start(self) -> None:
        """Do nothing."""

    def take(self, job_id: str) -> Claim | None:
        """Claim the job, which is always free."""
        return Claim(job_id, 1, 0)

    def still_held(self, claim: Claim) -> bool:  # noqa: ARG002
        """Say that the job is held, as it always is."""
        return True

    def give_back(self, claim: Claim) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def clear(self) -> None:
        """Do nothing."""


def _name(job_id: str, generation: int) -> str:
    job = hashlib.sha256(job_id.encode(errors="surrogatepass")).hexdigest()[:40]
    return f"jobs/{job}.{generation}"


def _heartbeat_name(worker: str) -> str:
    return f"workers/{worker or 'unknown'}"
