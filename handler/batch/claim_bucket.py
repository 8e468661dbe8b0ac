"""Claims as objects of a bucket."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TYPE_CHECKING
from uuid import uuid4

from botocore.exceptions import ClientError

from handler.batch.bucket import bucket_failures, keys_below
from handler.contract.errors import ConfigurationError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_THREADS = 8


class BucketClaims:
    """Objects below a prefix of a bucket.

    A write with ``If-None-Match: *`` decides who creates an object
    (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html). A storage
    that does not know the header writes all the same, and two workers would do one job: hence
    :meth:`check_exclusive`.

    Args:
        prefix: Ends in a slash.
    """

    def __init__(self, client: S3Client, bucket: str, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix

    def check_exclusive(self) -> None:
        """Prove that the storage lets only one of two create an object.

        Raises:
            ConfigurationError: It lets both.
            StorageError: It could not be found out.
        """
        name = f"probe-{uuid4().hex}"
        self.replace(name, b"")
        if self.create(name, b""):
            raise ConfigurationError(
                "This storage does not honour If-None-Match, so that workers cannot claim jobs in "
                "it. Keep --results in a folder that all workers share, or give each worker a "
                "share (--shard I/N) and a file for --results of its own."
            )

    def create(self, name: str, data: bytes) -> bool:
        """Write an object that is not there yet; see ``ClaimStore.create``.

        Where an answer was lost and the request sent again, an object that this very call made
        counts as another's; the claim's content tells.
        """
        with bucket_failures(self._bucket):
            try:
                self._client.put_object(
                    Bucket=self._bucket, Key=self._prefix + name, Body=data, IfNoneMatch="*"
                )
            except ClientError as error:
                # A conflict is for two writes at once; which one won, the object tells.
                if _status(error) in {HTTPStatus.PRECONDITION_FAILED, HTTPStatus.CONFLICT}:
                    return False
                raise
        return True

    def read(self, name: str) -> bytes | None:
        """Return an object; see ``ClaimStore.read``."""
        with bucket_failures(self._bucket):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)
                return answer["Body"].read()
            except ClientError as error:
                if _status(error) == HTTPStatus.NOT_FOUND:
                    return None
                raise

    def replace(self, name: str, data: bytes) -> None:
        """Write an object; see ``ClaimStore.replace``."""
        with bucket_failures(self._bucket):
            self._client.put_object(Bucket=self._bucket, Key=self._prefix + name, Body=data)

    def clear(self) -> None:
        """Remove the objects; see ``ClaimStore.clear``."""

        # One by one: deletion of many in one request is what storages differ in most.
        def delete(key: str) -> None:
            self._client.delete_object(Bucket=self._bucket, Key=key)

        with bucket_failures(self._bucket), ThreadPoolExecutor(_THREADS) as threads:
            list(threads.map(delete, keys_below(self._client, self._bucket, self._prefix)))


def _status(error: ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
