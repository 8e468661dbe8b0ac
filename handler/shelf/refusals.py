"""What a failure of the bucket means, and which setting mends it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    SSLError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)
from botocore.parsers import ResponseParserError

from handler.contract.errors import StorageError, StorageUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

_RIGHTS = (
    "The keys may not write to bucket {bucket}: allow them s3:PutObject there, and s3:GetObject "
    "for presigned URLs, or set BUCKET_ACCESS_KEY_ID and BUCKET_SECRET_ACCESS_KEY to keys that "
    "may."
)
_NO_BUCKET = (
    "There is no bucket {bucket} at this storage: correct BUCKET_NAME or BUCKET_ENDPOINT_URL, or "
    "create the bucket."
)
_KEY_ID = "The storage does not know the key: correct BUCKET_ACCESS_KEY_ID."
_SECRET = (
    "The storage refused the signature: correct BUCKET_SECRET_ACCESS_KEY; if it is right, "  # noqa: S105 - a message
    "correct BUCKET_REGION."
)
_TOKEN = (
    "The temporary keys are no longer valid: renew BUCKET_SESSION_TOKEN with its keys, or use "  # noqa: S105 - a message
    "lasting ones."
)
_REGION = "Bucket {bucket} is in another region: set BUCKET_REGION to the bucket's."
_CLOCK = "This machine's clock is wrong by more than the storage accepts: set it."
_TOO_LARGE = "The result is larger than the storage accepts in one piece: make it smaller."

# Codes: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html and those that R2
# and B2 answer instead.
_ADVICE = {
    "AccessDenied": _RIGHTS,
    "AllAccessDisabled": _RIGHTS,
    "AccountProblem": _RIGHTS,
    "Unauthorized": _RIGHTS,
    "UnauthorizedAccess": _RIGHTS,
    "NoSuchBucket": _NO_BUCKET,
    "InvalidBucketName": _NO_BUCKET,
    "InvalidAccessKeyId": _KEY_ID,
    "SignatureDoesNotMatch": _SECRET,
    "ExpiredToken": _TOKEN,
    "InvalidToken": _TOKEN,
    "TokenRefreshRequired": _TOKEN,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "InvalidRegionName": _REGION,
    "PermanentRedirect": _REGION,
    "TemporaryRedirect": _REGION,
    "RequestTimeTooSkewed": _CLOCK,
    "EntityTooLarge": _TOO_LARGE,
}
_ADVICE_BY_STATUS = {301: _REGION, 307: _REGION, 401: _RIGHTS, 403: _RIGHTS, 404: _NO_BUCKET}

_PASSING_CODES = frozenset(
    {
        "InternalError",
        "OperationAborted",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
    }
)
_TOO_MANY_REQUESTS = 429
_FIRST_SERVER_ERROR = 500


@contextlib.contextmanager
def bucket_failures(bucket: str) -> Iterator[None]:
    """Turn boto3's failures inside into :class:`StorageError`."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise storage_error(error, bucket) from error
    except ResponseParserError as error:
        raise StorageUnavailableError(
            "What answers for the storage is no S3 storage, or a page in front of it: send the "
            "job again later; if that does not help, check BUCKET_ENDPOINT_URL.",
            bucket=bucket,
            reason="NotS3",
        ) from error


def storage_error(error: ClientError | BotoCoreError, bucket: str) -> StorageError:
    """Return what to raise for a failure that boto3 reported after its last attempt.

    Args:
        error: What boto3 raised.
        bucket: The bucket's name.
    """
    if isinstance(error, ClientError):
        return _refusal(error, bucket)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return StorageError(
            "There are no keys for the bucket: set BUCKET_ACCESS_KEY_ID and "
            "BUCKET_SECRET_ACCESS_KEY, or give the machine a role.",
            bucket=bucket,
        )
    if isinstance(error, SSLError):
        return StorageError(
            "The storage's certificate is not trusted: correct BUCKET_ENDPOINT_URL, or point "
            "AWS_CA_BUNDLE to the authority that issued it.",
            bucket=bucket,
        )
    if isinstance(error, BotoConnectionError | HTTPClientError | CredentialRetrievalError):
        return StorageUnavailableError(
            "The storage could not be reached: send the job again later; if that does not help, "
            "check BUCKET_ENDPOINT_URL.",
            bucket=bucket,
            reason=type(error).__name__,
        )
    return StorageError(
        "The result could not be sent to the storage: check the BUCKET_ settings.",
        bucket=bucket,
        reason=type(error).__name__,
    )


def _refusal(error: ClientError, bucket: str) -> StorageError:
    code = error.response.get("Error", {}).get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _PASSING_CODES or status == _TOO_MANY_REQUESTS or status >= _FIRST_SERVER_ERROR:
        return StorageUnavailableError(
            f"The storage failed for a while ({code}): send the job again later.",
            bucket=bucket,
            reason=code,
            status=status,
        )
    advice = _ADVICE.get(code) or _ADVICE_BY_STATUS.get(
        status, "The storage refused the result ({code}): check the BUCKET_ settings."
    )
    return StorageError(
        advice.format(bucket=bucket, code=code), bucket=bucket, reason=code, status=status
    )
