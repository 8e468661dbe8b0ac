"""Inputs from the S3 buckets that the operator opened to callers."""

from __future__ import annotations

import contextlib
import functools
from http import HTTPStatus
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from handler.contract.errors import (
    FetchError,
    FetchUnavailableError,
    ForbiddenAddressError,
    InputTooLargeError,
)

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from mypy_boto3_s3 import S3Client

    from handler.inputs.source import ObjectSource
    from handler.inputs.time_limit import TimeLimit
    from handler.inputs.wanted import Wanted
    from handler.settings import Settings

_CHUNK_BYTES = 256 * 1024


class ObjectReader:
    """Reads objects of allowed buckets. Safe to use from several threads at once.

    Args:
        settings: Limits, credentials, and the buckets callers may name.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def read(self, wanted: Wanted, source: ObjectSource, limit: TimeLimit, sink: BinaryIO) -> None:
        """Write an object's bytes to a file.

        Args:
            wanted: What is fetched.
            source: Bucket and key.
            limit: Time for the fetch, looked at between chunks.
            sink: Where the bytes go.

        Raises:
            ForbiddenAddressError: Callers may not name this bucket.
            InputTooLargeError: The object is longer than ``wanted.max_bytes``.
            FetchUnavailableError: The storage does not answer, answers too slowly, or fails.
            FetchError: There is no such object, or the worker may not read it.
            CancelledError: The job was cancelled.
            DeadlineError: The job's time is up.
        """
        # The results' bucket is no exception: whoever knows a key would read others' pictures.
        if source.bucket not in self._settings.input_buckets:
            raise ForbiddenAddressError(
                f"{wanted}: objects of the bucket {source.bucket!r} are not read for "
                "callers. Use a presigned https URL; an operator can open the bucket in "
                "INPUT_BUCKETS.",
                **wanted.details,
                bucket=source.bucket,
            )
        self._read_allowed(wanted, source, limit, sink)

    def _read_allowed(
        self, wanted: Wanted, source: ObjectSource, limit: TimeLimit, sink: BinaryIO
    ) -> None:
        from botocore.exceptions import (
            BotoCoreError,
            ClientError,
            NoCredentialsError,
        )

        try:
            self._download(wanted, source, limit, sink)
        except ClientError as error:
            _raise_refusal(wanted, source, error)
        except NoCredentialsError as error:
            raise FetchError(
                f"{wanted}: {source.shown} needs credentials that this worker does not have. "
                "Use a presigned https URL; an operator can set BUCKET_ACCESS_KEY_ID and "
                "BUCKET_SECRET_ACCESS_KEY.",
                **wanted.details,
                url=source.shown,
            ) from error
        except (BotoCoreError, TimeoutError) as error:
            raise FetchUnavailableError(
                f"{wanted}: {source.shown} could not be read within {limit.seconds:g} s. "
                "Send the job again later.",
                **wanted.details,
                url=source.shown,
            ) from error

    def _download(
        self, wanted: Wanted, source: ObjectSource, limit: TimeLimit, sink: BinaryIO
    ) -> None:
        limit.check()
        answer = self._client.get_object(Bucket=source.bucket, Key=source.key)
        max_bytes = wanted.max_bytes
        with contextlib.closing(answer["Body"]) as body:
            if answer["ContentLength"] > max_bytes:
                raise InputTooLargeError(
                    f"{wanted}: {source.shown} has {answer['ContentLength']} bytes; at most "
                    f"{max_bytes} are allowed. Use a smaller file, or raise {wanted.size_setting}.",
                    **wanted.details,
                    url=source.shown,
                    max_bytes=max_bytes,
                )
            for chunk in body.iter_chunks(_CHUNK_BYTES):
                limit.check()
                sink.write(chunk)

    @functools.cached_property
    def _client(self) -> S3Client:
        from handler.shelf.s3 import s3_client

        return s3_client(self._settings)


def _raise_refusal(wanted: Wanted, source: ObjectSource, error: ClientError) -> NoReturn:
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    code = error.response["Error"].get("Code", "unknown")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
        raise FetchUnavailableError(
            f"{wanted}: the storage of {source.shown} fails ({code}). Send the job again later.",
            **wanted.details,
            url=source.shown,
            s3_code=code,
        ) from error
    raise FetchError(
        f"{wanted}: {source.shown} cannot be read ({code}). Check that the object exists and "
        "that the worker's key may read it.",
        **wanted.details,
        url=source.shown,
        s3_code=code,
    ) from error
