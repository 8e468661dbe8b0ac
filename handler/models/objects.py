"""Model files in a private bucket, ``s3://bucket/key``, read with the worker's own keys."""

from __future__ import annotations

import contextlib
import functools
from http import HTTPStatus
from typing import TYPE_CHECKING

from handler.models.errors import ModelFetchError
from handler.models.part import PartFile, Version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client

    from handler.inputs.time_limit import TimeLimit
    from handler.settings import Settings

_CHUNK_BYTES = 1024 * 1024
_TRIES_WITHOUT_PROGRESS = 5
_PAUSE = 1.0
SCHEME = "s3://"


class Objects:
    """Reads objects. Safe to use from several threads at once.

    Args:
        settings: The storage's address and keys.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def fetch(self, address: str, part: PartFile, limit: TimeLimit) -> None:
        """Bring a whole object into ``part``, going on from what is there already.

        Raises:
            ModelFetchError: It cannot be had.
            CancelledError: The fetch was cancelled.
            TimeoutError: The fetch's time is up.
        """
        bucket, _, key = address.removeprefix(SCHEME).partition("/")
        if not bucket or not key:
            raise ModelFetchError(f"{address} is not s3://bucket/key")
        tries = 0
        while True:
            before = part.size
            try:
                return self._fetch_once(address, bucket, key, part, limit)
            except ModelFetchError as failure:
                tries = 1 if part.size > before else tries + 1
                if not failure.passing or tries >= _TRIES_WITHOUT_PROGRESS:
                    raise
            limit.pause(_PAUSE * tries)

    def _fetch_once(
        self, address: str, bucket: str, key: str, part: PartFile, limit: TimeLimit
    ) -> None:
        limit.check()
        with _failures(address):
            head = self._client.head_object(Bucket=bucket, Key=key)
            version = Version(address, head["ETag"], head["ContentLength"])
            start = part.size if part.known(address) == version else 0
            if start >= head["ContentLength"]:
                start = 0
            answer = self._client.get_object(
                Bucket=bucket, Key=key, Range=f"bytes={start}-", IfMatch=head["ETag"]
            )
            with contextlib.closing(answer["Body"]) as body:
                part.write(version, start, _chunks(body, limit))

    @functools.cached_property
    def _client(self) -> S3Client:
        from handler.shelf.s3 import s3_client

        return s3_client(self._settings)


def _chunks(body: StreamingBody, limit: TimeLimit) -> Iterator[bytes]:
    for chunk in body.iter_chunks(_CHUNK_BYTES):
        limit.check()
        yield chunk


@contextlib.contextmanager
def _failures(address: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    try:
        yield
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        code = error.response["Error"].get("Code", "unknown")
        passing = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in {
            HTTPStatus.TOO_MANY_REQUESTS,
            HTTPStatus.PRECONDITION_FAILED,
        }
        raise ModelFetchError(
            f"{address} cannot be read ({code}): check that the object is there and that the keys "
            "of the bucket (BUCKET_ACCESS_KEY_ID, or the machine's role) may read it",
            passing=passing,
        ) from error
    except NoCredentialsError as error:
        raise ModelFetchError(
            f"{address} needs keys: set BUCKET_ACCESS_KEY_ID and BUCKET_SECRET_ACCESS_KEY"
        ) from error
    except BotoCoreError as error:
        raise ModelFetchError(
            f"the storage of {address} could not be reached: {type(error).__name__}", passing=True
        ) from error
