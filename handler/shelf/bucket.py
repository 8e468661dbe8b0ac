"""Results in an S3 bucket."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from handler.shelf.contract import StoredFile
from handler.shelf.refusals import storage_error

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from handler.contract.event import Output
    from handler.job.encode import EncodedFile

_PROBE_NAME = ".write-probe"
_NOT_IN_A_FILE_NAME = re.compile(r"[^A-Za-z0-9._~%-]")

_logger = logging.getLogger(__name__)


class S3Storage:
    """A bucket.

    A presigned URL is signed with the storage's own keys and is valid no longer than they are:
    with temporary keys (a role, or BUCKET_SESSION_TOKEN) it ends when they do, even before
    ``expires_in``. Only lasting keys give URLs that live up to seven days
    (https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-presigned-url.html).

    Args:
        client: From :func:`handler.shelf.s3.s3_client`; it makes the attempts and keeps the
            timeouts.
        bucket: The bucket's name.
        prefix: Put before every key; no slash at either end, may be empty.
        public_url: Address under which the bucket's keys are public, such as a CDN's; ``None``
            for the endpoint's own.
        cache_control: ``Cache-Control`` of every result.
    """

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        *,
        prefix: str,
        public_url: str | None,
        cache_control: str,
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._public_url = public_url
        self._cache_control = cache_control

    def store(self, file: EncodedFile, key: str, output: Output) -> StoredFile:
        """Write a result; see :meth:`handler.shelf.Storage.store`."""
        whole_key = self._whole_key(key)
        try:
            self._client.put_object(
                Bucket=self._bucket,
                Key=whole_key,
                Body=file.data,
                ContentType=file.content_type,
                CacheControl=self._cache_control,
                ContentDisposition=f'inline; filename="{_file_name(key)}"',
                Metadata={"sha256": file.sha256},
            )
            return self._stored_file(whole_key, output)
        except (ClientError, BotoCoreError) as error:
            raise storage_error(error, self._bucket) from error

    def read(self, key: str) -> bytes | None:
        """Return an object's bytes; see :meth:`handler.shelf.Storage.read`."""
        try:
            found = self._client.get_object(Bucket=self._bucket, Key=self._whole_key(key))
            return found["Body"].read()
        except (ClientError, BotoCoreError) as error:
            if _is_missing(error):
                return None
            raise storage_error(error, self._bucket) from error

    def locate(self, key: str, sha256: str, output: Output) -> StoredFile | None:
        """Return where an object is; see :meth:`handler.shelf.Storage.locate`."""
        whole_key = self._whole_key(key)
        try:
            found = self._client.head_object(Bucket=self._bucket, Key=whole_key)
            if found["Metadata"].get("sha256") != sha256:
                return None
            return self._stored_file(whole_key, output)
        except (ClientError, BotoCoreError) as error:
            if _is_missing(error):
                return None
            raise storage_error(error, self._bucket) from error

    def check(self) -> None:
        """Write and remove a small object; see :meth:`handler.shelf.Storage.check`.

        Keys that may write but not delete are enough for results, so that a refused deletion is
        only logged; the object is the same one at every check.
        """
        key = self._whole_key(_PROBE_NAME)
        try:
            self._client.put_object(Bucket=self._bucket, Key=key, Body=b"")
        except (ClientError, BotoCoreError) as error:
            raise storage_error(error, self._bucket) from error
        try:
            self._client.delete_object(Bucket=self._bucket, Key=key)
        except (ClientError, BotoCoreError) as error:
            reason = storage_error(error, self._bucket).details.get("reason")
            _logger.warning("storage_probe_left_behind", extra={"key": key, "reason": reason})

    def _stored_file(self, key: str, output: Output) -> StoredFile:
        if output.url == "public":
            return StoredFile(self._public_address(key), key)
        return StoredFile(self._signed_address(key, output.expires_in), key)

    def _whole_key(self, key: str) -> str:
        return f"{self._prefix}/{key}" if self._prefix else key

    def _signed_address(self, key: str, expires_in: int) -> str:
        return self._client.generate_presigned_url(
            "get_object",
            Params={"Bucket": self._bucket, "Key": key},
            ExpiresIn=expires_in,
        )

    def _public_address(self, key: str) -> str:
        if self._public_url is not None:
            return f"{self._public_url.rstrip('/')}/{quote(key)}"
        # The signed address without its signature: where the object is, as boto3 resolves it.
        return urlsplit(self._signed_address(key, 60))._replace(query="").geturl()


def _is_missing(error: ClientError | BotoCoreError) -> bool:
    """Say whether an object is not there: HEAD answers 404 without a code of S3's own."""
    return isinstance(error, ClientError) and error.response["Error"]["Code"] in {
        "404",
        "NoSuchKey",
        "NotFound",
    }


def _file_name(key: str) -> str:
    """Name to save a result under: the job's segment and the result's, for the latter is short."""
    return _NOT_IN_A_FILE_NAME.sub("_", "-".join(key.split("/")[-2:]))
