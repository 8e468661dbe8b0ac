"""What the batch's parts that read and write a bucket share."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from handler.contract.errors import EventError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

_ADDRESS = re.compile(r"s3://(?P<bucket>[^/]+)(?:/(?P<key>.*))?", re.DOTALL)


@dataclass(frozen=True)
class BucketAddress:
    """An ``s3://`` address; the key may be empty."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read an address; ``None`` for a text that is a path.

        Raises:
            EventError: It begins like an address but has no bucket.
        """
        if not text.startswith("s3:"):
            return None
        match = _ADDRESS.fullmatch(text)
        if match is None:
            raise EventError(f"Give the address as s3://bucket/key, not as {text!r}.")
        return cls(match["bucket"], match["key"] or "")

    @property
    def folder(self) -> str:
        """The key as a prefix: empty, or with a slash at its end."""
        return f"{self.key.rstrip('/')}/" if self.key.strip("/") else ""


@contextlib.contextmanager
def bucket_failures(bucket: str) -> Iterator[None]:
    """Turn boto3's failures inside into :class:`StorageError`."""
    from botocore.exceptions import BotoCoreError, ClientError

    from handler.shelf.refusals import storage_error

    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise storage_error(error, bucket) from error


def keys_below(client: S3Client, bucket: str, prefix: str) -> Iterator[str]:
    """List the keys that begin with a prefix, sorted."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    for page in pages:
        for entry in page.get("Contents", []):
            yield entry["Key"]
