"""A shelf that is an S3 bucket, or what is below a prefix of one."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote, urlsplit

from botocore.exceptions import ClientError

from handler.contract.errors import StorageError, StorageUnavailableError
from handler.shelf.refusals import bucket_failures
from handler.shelf.shelf import OCTETS, Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import PutObjectOutputTypeDef

    from handler.shelf.shelf import Data

_PROBE_NAME = ".write-probe"
_CHUNK_BYTES = 256 * 1024
_HASHING_THREADS = 2
_NOT_IN_A_FILE_NAME = re.compile(r"[^A-Za-z0-9._~%-]")

_logger = logging.getLogger(__name__)


class BucketShelf:
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
        cache_control: ``Cache-Control`` of every object.
    """

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        *,
        prefix: str = "",
        public_url: str | None = None,
        cache_control: str = "no-cache",
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._public_url = public_url
        self._cache_control = cache_control
        self._hashing = ThreadPoolExecutor(_HASHING_THREADS, thread_name_prefix="md5")

    def put(
        self, key: str, data: Data, *, content_type: str = OCTETS, sha256: str | None = None
    ) -> None:
        """Write an object; see :meth:`handler.shelf.Shelf.put`."""
        sha256 = sha256 or _digest(data, "sha256")
        md5 = self._md5(data)
        with bucket_failures(self._bucket):
            answer = self._client.put_object(
                Bucket=self._bucket,
                Key=self.full_key(key),
                Body=data,
                ContentType=content_type,
                CacheControl=self._cache_control,
                ContentDisposition=f'inline; filename="{_file_name(key)}"',
                Metadata={"sha256": sha256},
            )
        self._check_stored(key, answer, md5(), sha256)

    def create(self, key: str, data: bytes) -> bool:
        """Write an object that is not there yet; see :meth:`handler.shelf.Shelf.create`.

        A write with ``If-None-Match: *`` decides who creates it
        (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html). A storage
        that does not know the header writes all the same, and so returns ``True`` to everyone.
        """
        sha256 = _digest(data, "sha256")
        with bucket_failures(self._bucket):
            try:
                answer = self._client.put_object(
                    Bucket=self._bucket,
                    Key=self.full_key(key),
                    Body=data,
                    CacheControl=self._cache_control,
                    Metadata={"sha256": sha256},
                    IfNoneMatch="*",
                )
            except ClientError as error:
                # A conflict is for two writes at once; which one won, the object tells.
                if _status(error) in {HTTPStatus.PRECONDITION_FAILED, HTTPStatus.CONFLICT}:
                    return False
                raise
        self._check_stored(key, answer, _digest(data, "md5"), sha256)
        return True

    def get(self, key: str) -> bytes | None:
        """Return an object's bytes; see :meth:`handler.shelf.Shelf.get`."""
        with bucket_failures(self._bucket):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=self.full_key(key))
                return answer["Body"].read()
            except ClientError as error:
                if _is_missing(error):
                    return None
                raise

    def copy(self, key: str, sink: BinaryIO) -> bool:
        """Write an object's bytes to a file; see :meth:`handler.shelf.Shelf.copy`."""
        with bucket_failures(self._bucket):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=self.full_key(key))
            except ClientError as error:
                if _is_missing(error):
                    return False
                raise
            with contextlib.closing(answer["Body"]) as body:
                sink.writelines(body.iter_chunks(_CHUNK_BYTES))
        return True

    def has(self, key: str, sha256: str) -> bool:
        """Compare with what was noted when it was written; see :meth:`handler.shelf.Shelf.has`."""
        with bucket_failures(self._bucket):
            try:
                found = self._client.head_object(Bucket=self._bucket, Key=self.full_key(key))
            except ClientError as error:
                if _is_missing(error):
                    return False
                raise
        return found["Metadata"].get("sha256") == sha256

    def stat(self, key: str) -> Entry | None:
        """Return an object's size and time; see :meth:`handler.shelf.Shelf.stat`."""
        with bucket_failures(self._bucket):
            try:
                found = self._client.head_object(Bucket=self._bucket, Key=self.full_key(key))
            except ClientError as error:
                if _is_missing(error):
                    return None
                raise
        written_at = found["LastModified"].timestamp()
        return Entry(key, found["ContentLength"], written_at, (found["ETag"],))

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        """List objects; see :meth:`handler.shelf.Shelf.list`."""
        own = self.full_key("")
        with bucket_failures(self._bucket):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=own + prefix, StartAfter=own + after if after else ""
            )
            for page in pages:
                for found in page.get("Contents", []):
                    yield Entry(
                        found["Key"].removeprefix(own),
                        found["Size"],
                        found["LastModified"].timestamp(),
                        (found["ETag"],),
                    )

    def delete(self, key: str) -> None:
        """Remove an object; see :meth:`handler.shelf.Shelf.delete`."""
        with bucket_failures(self._bucket):
            self._client.delete_object(Bucket=self._bucket, Key=self.full_key(key))

    def url(self, key: str, *, expires_in: int | None = None) -> str:
        """Return an object's address; see :meth:`handler.shelf.Shelf.url`."""
        whole_key = self.full_key(key)
        if expires_in is not None:
            return self._signed_address(whole_key, expires_in)
        if self._public_url is not None:
            return f"{self._public_url.rstrip('/')}/{quote(whole_key)}"
        # The signed address without its signature: where the object is, as boto3 resolves it.
        return urlsplit(self._signed_address(whole_key, 60))._replace(query="").geturl()

    def full_key(self, key: str) -> str:
        """Return the object's key; see :meth:`handler.shelf.Shelf.full_key`."""
        return f"{self._prefix}/{key}" if self._prefix else key

    def check(self) -> None:
        """Write and remove a small object; see :meth:`handler.shelf.Shelf.check`.

        Keys that may write but not delete are enough for results, so that a refused deletion is
        only logged; the object is the same one at every check.
        """
        self.put(_PROBE_NAME, b"")
        try:
            self.delete(_PROBE_NAME)
        except StorageError as error:
            left = {"key": self.full_key(_PROBE_NAME), "reason": error.details.get("reason")}
            _logger.warning("storage_probe_left_behind", extra=left)

    def _signed_address(self, key: str, expires_in: int) -> str:
        with bucket_failures(self._bucket):
            return self._client.generate_presigned_url(
                "get_object",
                Params={"Bucket": self._bucket, "Key": key},
                ExpiresIn=expires_in,
            )

    def _md5(self, data: Data) -> Callable[[], str]:
        """Return what gives the MD5; of many bytes it is made while they are sent."""
        if isinstance(data, bytes) and len(data) > _CHUNK_BYTES:
            return self._hashing.submit(_digest, data, "md5").result
        return partial(_digest, data, "md5")

    def _check_stored(
        self, key: str, answer: PutObjectOutputTypeDef, md5: str, sha256: str
    ) -> None:
        """Prove by the answer, else by the object, that the storage holds what was sent.

        Not all that answers with status 200 is a storage: a gateway's page does too. The ETag is
        the content's MD5, except where the storage encrypts with a key service, as it then says,
        or has a way of its own; there it takes another request.
        """
        etag = answer.get("ETag", "").strip('"').lower()
        if etag and answer.get("ServerSideEncryption", "").startswith("aws:kms"):
            return
        if etag == md5:
            return
        if not self.has(key, sha256):
            raise StorageUnavailableError(
                "The storage answered that it took the object, but does not have it: what answers "
                "may be no storage. Send the job again later; if that does not help, check "
                "BUCKET_ENDPOINT_URL.",
                bucket=self._bucket,
                reason="NotStored",
            )


def _digest(data: Data, algorithm: str) -> str:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    if isinstance(data, bytes):
        digest.update(data)
    else:
        data.seek(0)
        while chunk := data.read(_CHUNK_BYTES):
            digest.update(chunk)
        data.seek(0)
    return digest.hexdigest()


def _status(error: ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def _is_missing(error: ClientError) -> bool:
    """Say whether an object is not there: HEAD answers 404 without a code of S3's own."""
    return error.response["Error"]["Code"] in {"404", "NoSuchKey", "NotFound"}


def _file_name(key: str) -> str:
    """Name to save a result under: the job's segment and the result's, for the latter is short."""
    return _NOT_IN_A_FILE_NAME.sub("_", "-".join(key.split("/")[-2:]))
