"""Claims: how several workers share one list without doing a job twice.

A claim is a file that only one worker can create. It is held by that worker for as long as the
worker lives, which its heartbeat shows: a number that changes. Who watches a heartbeat for the
length of its lease and sees no change, by his own clock alone, may take the claim over. He does so
by creating the claim's next generation, which again only one can. Generations are never removed
while the batch runs, so that at any time the highest one tells the holder, and the number of those
that were not given back tells how many workers died with the job.

A worker that dies takes several jobs along, and all but one are innocent. Its heartbeat therefore
names the job on the device. That one is suspected; so is every job of a worker that named none, and
one that was lost more than once. A suspect is tried alone, in a worker that does nothing else: if
that one dies too, there is no doubt.
"""

from __future__ import annotations

import hashlib
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from handler.batch.heartbeat import Heartbeat
from handler.contract.errors import ConfigurationError

if TYPE_CHECKING:
    from handler.shelf import Shelf

_THREADS = 8


@dataclass(frozen=True)
class Claim:
    """A job that this worker holds.

    Attributes:
        generation: From 1; one more each time that the job changed hands.
        lost: How many workers died while they held the job.
        lost_by_it: How many of those died of it without doubt.
        suspected: Whether it is to be tried alone.
    """

    job_id: str
    generation: int
    lost: int
    lost_by_it: int = 0
    suspected: bool = False


class ClaimKeeper(Protocol):
    """Decides which worker does a job."""

    def start(self) -> None:
        """Show from now on that this worker lives."""

    def take(self, job_id: str, *, idle: bool = True) -> Claim | None:
        """Claim a job; ``None`` while another worker holds it.

        Args:
            idle: Whether this worker does nothing else; a suspect is not claimed otherwise.
        """

    def on_device(self, claim: Claim) -> None:
        """Tell the others that the job is on the device. Returns at once."""

    def blame(self, claim: Claim) -> None:
        """Note that the job broke this worker, unless it only waited beside the one that did."""

    def still_held(self, claim: Claim) -> bool:
        """Say whether no other worker has taken the job over."""

    def give_back(self, claim: Claim) -> None:
        """Let another worker take the job."""

    def close(self) -> None:
        """End the heartbeat. What was not given back counts as lost with this worker."""

    def clear(self) -> None:
        """Remove all claims, when every job is done."""


class _Holder(BaseModel):
    """A generation's holder.

    Attributes:
        at_fault: Whether the job is to blame if this worker is lost: it is tried alone, or broke
            the worker.
    """

    model_config = ConfigDict(frozen=True)

    worker: str = ""
    given_back: bool = False
    at_fault: bool = False


class Claims:
    """Claims on a shelf that all workers of the batch share.

    Args:
        prefix: Of the claims' keys; ends in a slash.
        lease: Seconds without a heartbeat after which this worker counts as dead. Longer than
            any pause of the process or of the shelf.
    """

    def __init__(self, shelf: Shelf, prefix: str, lease: float) -> None:
        self._shelf = shelf
        self._prefix = prefix
        self._lease = lease
        self._heartbeat = Heartbeat(shelf, prefix, lease)
        self._worker = self._heartbeat.worker

    def check_exclusive(self) -> None:
        """Prove that the shelf lets only one of two create a key.

        Raises:
            ConfigurationError: It lets both.
            StorageError: It could not be found out.
        """
        name = f"probe-{uuid.uuid4().hex}"
        self._put(name, b"")
        if self._create(name, b""):
            raise ConfigurationError(
                "This storage does not honour If-None-Match, so that workers cannot claim jobs in "
                "it. Keep --results in a folder that all workers share, or give each worker a "
                "share (--shard I/N) and a file for --results of its own."
            )

    def start(self) -> None:
        """Show from now on that this worker lives; before the first claim.

        Raises:
            StorageError: The shelf cannot be written to.
        """
        self._heartbeat.start()

    def take(self, job_id: str, *, idle: bool = True) -> Claim | None:
        """Claim a job; ``None`` while another worker holds it; see :meth:`ClaimKeeper.take`.

        Raises:
            StorageError: The shelf cannot be used.
        """
        if self._create(_name(job_id, 1), self._holder()):
            return Claim(job_id, 1, 0)
        holders = self._holders(job_id)
        last = holders[-1] if holders else None
        mine = last is not None and not last.given_back and last.worker == self._worker
        if mine:
            # Made by a request whose answer did not arrive.
            holders.pop()
        elif last is not None and not (last.given_back or self._heartbeat.has_stopped(last.worker)):
            return None
        lost = [holder for holder in holders if not holder.given_back]
        suspected = self._is_suspected(job_id, lost)
        if suspected and not idle:
            return None
        generation = len(holders) + 1
        name = _name(job_id, generation)
        if not mine and not self._create(name, self._holder(at_fault=suspected)):
            return None
        return Claim(job_id, generation, len(lost), sum(h.at_fault for h in lost), suspected)

    def on_device(self, claim: Claim) -> None:
        """Name the job in the next beat, which comes soon; see :meth:`ClaimKeeper.on_device`."""
        self._heartbeat.name_job(_job_name(claim.job_id))

    def blame(self, claim: Claim) -> None:
        """Note that the job broke this worker; see :meth:`ClaimKeeper.blame`.

        Raises:
            StorageError: The shelf cannot be used.
        """
        if self._heartbeat.job in {None, _job_name(claim.job_id)}:
            self._put(_name(claim.job_id, claim.generation), self._holder(at_fault=True))
        else:
            self.give_back(claim)

    def still_held(self, claim: Claim) -> bool:
        """Say whether no other worker has taken the job over.

        Raises:
            StorageError: The shelf cannot be used.
        """
        return self._get(_name(claim.job_id, claim.generation + 1)) is None

    def give_back(self, claim: Claim) -> None:
        """Let another worker take the job at once.

        Raises:
            StorageError: The shelf cannot be used.
        """
        self._put(_name(claim.job_id, claim.generation), self._holder(given_back=True))

    def close(self) -> None:
        """End the heartbeat."""
        self._heartbeat.close()

    def clear(self) -> None:
        """Remove all claims, when every job is done.

        Raises:
            StorageError: They cannot be removed.
        """
        # One by one: deletion of many in one request is what storages differ in most.
        keys = [entry.key for entry in self._shelf.list(self._prefix)]
        with ThreadPoolExecutor(_THREADS) as threads:
            list(threads.map(self._shelf.delete, keys))

    def _holders(self, job_id: str) -> list[_Holder]:
        holders: list[_Holder] = []
        while (data := self._get(_name(job_id, len(holders) + 1))) is not None:
            try:
                holders.append(_Holder.model_validate_json(data))
            except ValidationError:
                holders.append(_Holder())  # whoever made it died before he wrote his name
        return holders

    def _is_suspected(self, job_id: str, lost: list[_Holder]) -> bool:
        on_device = {_job_name(job_id), None}
        return len(lost) > 1 or any(
            holder.at_fault or self._heartbeat.job_of(holder.worker) in on_device for holder in lost
        )

    def _holder(self, *, given_back: bool = False, at_fault: bool = False) -> bytes:
        holder = _Holder(worker=self._worker, given_back=given_back, at_fault=at_fault)
        return holder.model_dump_json().encode()

    def _create(self, name: str, data: bytes) -> bool:
        return self._shelf.create(self._prefix + name, data)

    def _get(self, name: str) -> bytes | None:
        return self._shelf.get(self._prefix + name)

    def _put(self, name: str, data: bytes) -> None:
        self._shelf.put(self._prefix + name, data)


class NoClaims:
    """For a worker whose share no other worker has."""

    def start(self) -> None:
        """Do nothing."""

    def take(self, job_id: str, *, idle: bool = True) -> Claim | None:  # noqa: ARG002
        """Claim the job, which is always free."""
        return Claim(job_id, 1, 0)

    def on_device(self, claim: Claim) -> None:
        """Do nothing."""

    def blame(self, claim: Claim) -> None:
        """Do nothing."""

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
    return f"jobs/{_job_name(job_id)}.{generation}"


def _job_name(job_id: str) -> str:
    return hashlib.sha256(job_id.encode(errors="surrogatepass")).hexdigest()[:40]
