"""The manifest in a bucket, where nothing can be appended to: an object for each job.

The objects' names say which jobs succeeded, so that a list of names is enough to go on from. When
the batch is done, the objects are joined to one file of JSON lines.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from handler.batch.bucket import bucket_failures, keys_below
from handler.batch.manifest import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mypy_boto3_s3 import S3Client

    from handler.batch.job import BatchJob
    from handler.batch.manifest import Record

_THREADS = 8
_NAME = re.compile(r"(?P<place>[0-9a-f]{40}-[0-9a-f]{16})(?P<failed>\.failed)?\.json")


class ManifestBucket:
    """Records below a prefix of a bucket.

    Args:
        prefix: Ends in a slash.
    """

    def __init__(self, client: S3Client, bucket: str, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._records = f"{prefix}records/"
        self._joined = f"{prefix}manifest.jsonl"
        self._succeeded: set[str] = set()
        self._failed: dict[str, Outcome] = {}

    def refresh(self) -> None:
        """List the records; see ``Manifest.refresh``."""
        self._list("")

    def outcome(self, job: BatchJob) -> Outcome | None:
        """Return how a job ended; see ``Manifest.outcome``."""
        place = _place(job)
        if place in self._succeeded:
            return Outcome(id=job.job_id, fingerprint=job.fingerprint, status="succeeded")
        return self._failed.get(place)

    def look_up(self, job: BatchJob) -> Outcome | None:
        """Return how a job ended, as of now; see ``Manifest.look_up``."""
        self._list(_place(job))
        return self.outcome(job)

    def append(self, record: Record) -> None:
        """Record a job; see ``Manifest.append``."""
        outcome = record.outcome
        place = _place(record.job)
        with bucket_failures(self._bucket):
            self._client.put_object(
                Bucket=self._bucket,
                Key=self._key(place, failed=outcome.status == "failed"),
                Body=record.to_line(),
                ContentType="application/json",
            )
        if outcome.status == "succeeded":
            self._succeeded.add(place)
        else:
            self._failed[place] = outcome

    def finish(self, jobs: Sequence[BatchJob]) -> None:
        """Join the records to ``manifest.jsonl``, in the list's order; see ``Manifest.finish``."""
        with (
            bucket_failures(self._bucket),
            tempfile.TemporaryFile() as joined,
            ThreadPoolExecutor(_THREADS) as threads,
        ):
            for line in threads.map(self._line, jobs):
                joined.write(line)
            joined.seek(0)
            self._client.put_object(
                Bucket=self._bucket,
                Key=self._joined,
                Body=joined,
                ContentType="application/x-ndjson",
            )

    def _line(self, job: BatchJob) -> bytes:
        place = _place(job)
        return self._read(self._key(place, failed=place not in self._succeeded))

    def _list(self, place: str) -> None:
        with bucket_failures(self._bucket):
            for key in keys_below(self._client, self._bucket, self._records + place):
                match = _NAME.fullmatch(key.removeprefix(self._records))
                if match is None:
                    continue
                if not match["failed"]:
                    self._succeeded.add(match["place"])
                elif match["place"] not in self._failed:
                    outcome = Outcome.parse(self._read(key))
                    if outcome is not None:
                        self._failed[match["place"]] = outcome

    def _read(self, key: str) -> bytes:
        return self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()

    def _key(self, place: str, *, failed: bool) -> str:
        return f"{self._records}{place}{'.failed' if failed else ''}.json"


def _place(job: BatchJob) -> str:
    digest = hashlib.sha256(job.job_id.encode(errors="surrogatepass")).hexdigest()
    return f"{digest[:40]}-{job.fingerprint[:16]}"
