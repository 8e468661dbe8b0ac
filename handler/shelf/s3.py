"""The S3 client, and the bucket that the settings mean.

One client serves AWS and every storage that speaks its protocol; where they differ is said here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from handler.contract.errors import ConfigurationError

if TYPE_CHECKING:
    from botocore.loaders import Loader
    from mypy_boto3_s3 import S3Client

    from handler.settings import Settings

# Host names of storages whose scheme is documented, each with the bucket it may begin with:
# https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAPI.html
# https://docs.runpod.io/storage/s3-api (the region is the data centre's id)
# https://developers.cloudflare.com/r2/ (an account id, then for some buckets a jurisdiction)
# and the endpoint lists of Backblaze, Wasabi, Scaleway and DigitalOcean.
_BUCKET = r"(?:(?P<bucket>[a-z0-9][a-z0-9.-]*)\.)?"
_REGION = r"(?P<region>[a-z0-9-]+)"
_AWS_REGION = r"(?P<region>[a-z]{2}(?:-[a-z]+)+-\d+)"
_AWS_PLAIN = re.compile(rf"{_BUCKET}(?P<host>s3(?:[.-]{_AWS_REGION})?\.amazonaws\.com(?:\.cn)?)")
_R2 = re.compile(rf"{_BUCKET}(?P<host>[0-9a-f]{{32}}(?:\.[a-z]+)?\.r2\.cloudflarestorage\.com)")
_KNOWN_HOSTS = (
    _AWS_PLAIN,
    re.compile(
        rf"{_BUCKET}(?P<host>s3(?:-fips)?(?:\.dualstack)?\.{_AWS_REGION}\.amazonaws\.com(?:\.cn)?)"
    ),
    _R2,
    re.compile(rf"{_BUCKET}(?P<host>s3\.{_REGION}\.(?:backblazeb2|wasabisys)\.com)"),
    re.compile(rf"{_BUCKET}(?P<host>s3\.{_REGION}\.scw\.cloud)"),
    re.compile(rf"{_BUCKET}(?P<host>(?P<region>[a-z]+\d+)\.digitaloceanspaces\.com)"),
    re.compile(rf"(?P<bucket>)(?P<host>s3api-{_REGION}\.runpod\.io)"),
)
_BUCKET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


@dataclass(frozen=True)
class Bucket:
    """The bucket that results go to.

    Attributes:
        name: The bucket's name.
        endpoint_url: Address of the storage without the bucket; ``None`` for AWS's own.
        region: Region that requests are signed for; ``None`` where boto3 is to find it.
    """

    name: str
    endpoint_url: str | None
    region: str | None


def resolve_bucket(settings: Settings) -> Bucket | None:
    """Return the bucket that the settings mean; ``None`` when they name none.

    The name may stand in BUCKET_NAME or, as RunPod's workers are set up, in BUCKET_ENDPOINT_URL:
    before the storage's host name or as the address's one path segment.

    Raises:
        ConfigurationError: The settings contradict each other, or an endpoint is given without
            a bucket's name.
    """
    endpoint = _read_endpoint(settings)
    name = endpoint.bucket or settings.bucket_name
    if name is None:
        if settings.bucket_endpoint_url is None:
            return None
        raise ConfigurationError(
            "BUCKET_ENDPOINT_URL names a storage but no bucket in it: set BUCKET_NAME."
        )
    if not _BUCKET_NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} cannot be a bucket's name: set BUCKET_NAME to letters, digits, dots and "
            "hyphens only."
        )
    return Bucket(name, endpoint.url, endpoint.region)


def s3_client(settings: Settings) -> S3Client:
    """Return a client for the configured storage; it may be shared between threads.

    Keys come from the settings, else from where boto3 looks by itself (profile, role of the
    machine or container).

    Raises:
        ConfigurationError: The settings contradict each other, or boto3 cannot use them.
    """
    import boto3  # 0.2 s, which a start without a bucket does without
    import botocore.session
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    endpoint = _read_endpoint(settings)
    style = settings.bucket_addressing
    if style == "auto":
        # boto3's own "auto" presigns for AWS's global host, which cannot serve a new bucket of
        # another region than us-east-1.
        style = "virtual" if endpoint.url is None else "path"
    config = Config(
        signature_version="s3v4",
        retries={"total_max_attempts": settings.bucket_attempts, "mode": "standard"},
        connect_timeout=settings.bucket_timeout,
        read_timeout=settings.bucket_timeout,
        # By default boto3 adds checksum headers that other storages refuse
        # (https://github.com/jschneier/django-storages/issues/1498 for Backblaze); without them
        # it signs the body's SHA-256, which every storage verifies.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": style},
        # The settings have read the endpoint already; boto3 must not find another one.
        ignore_configured_endpoint_urls=True,  # type: ignore[call-arg] # missing in the stubs
    )
    secret = settings.bucket_secret_access_key
    token = settings.bucket_session_token
    session = botocore.session.Session()
    session.register_component("data_loader", _loader())
    try:
        return boto3.session.Session(botocore_session=session).client(
            "s3",
            endpoint_url=endpoint.url,
            region_name=endpoint.region,
            aws_access_key_id=settings.bucket_access_key_id,
            aws_secret_access_key=None if secret is None else secret.get_secret_value(),
            # A token belongs to the keys it was issued with.
            aws_session_token=None if token is None or secret is None else token.get_secret_value(),
            config=config,
        )
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError(
            f"The storage's settings cannot be used ({error}): correct the BUCKET_ and AWS_ "
            "variables."
        ) from error


@cache
def _loader() -> Loader:
    """Return one reader of boto3's data for all clients: its work is most of a client's 0.3 s."""
    from botocore.loaders import create_loader

    return create_loader()


@dataclass(frozen=True)
class _Endpoint:
    """What BUCKET_ENDPOINT_URL says, set against the other settings."""

    url: str | None
    bucket: str | None
    region: str | None


def _read_endpoint(settings: Settings) -> _Endpoint:
    if settings.bucket_endpoint_url is None:
        return _Endpoint(url=None, bucket=None, region=settings.bucket_region)
    parts = _split_address(settings.bucket_endpoint_url)
    for pattern in _KNOWN_HOSTS:
        if match := pattern.fullmatch(parts.hostname or ""):
            return _read_known(match, parts, settings)
    return _read_unknown(parts, settings)


def _split_address(address: str) -> SplitResult:
    try:
        parts = urlsplit(address.strip())
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError(
            "BUCKET_ENDPOINT_URL has to be an address that starts with https:// or http://."
        )
    if parts.query or parts.fragment or parts.username is not None:
        raise ConfigurationError(
            "BUCKET_ENDPOINT_URL has to be a plain address, without keys, query or fragment."
        )
    return parts


def _read_known(match: re.Match[str], parts: SplitResult, settings: Settings) -> _Endpoint:
    """Read an address on a storage whose naming is known: what its path holds is the bucket."""
    candidates = [match["bucket"], unquote(parts.path.strip("/")), settings.bucket_name]
    names = {name for name in candidates if name}
    if len(names) > 1:
        raise _contradiction("bucket", names, "BUCKET_NAME")
    bucket = names.pop() if names else None

    if match.re is _R2:
        return _Endpoint(_address(parts, match["host"]), bucket, "auto")
    region = _agreed_region(match["region"], settings.bucket_region)
    # boto3 knows AWS's addresses itself, and then the bucket's name stands in the host.
    url = None if match.re is _AWS_PLAIN else _address(parts, match["host"])
    if (parts.hostname or "").endswith(".runpod.io") and region is not None:
        region = region.upper()
    return _Endpoint(url, bucket, region)


def _agreed_region(from_endpoint: str | None, from_settings: str | None) -> str | None:
    if from_endpoint and from_settings and from_endpoint.lower() != from_settings.lower():
        raise _contradiction("region", {from_endpoint, from_settings}, "BUCKET_REGION")
    return from_endpoint or from_settings


def _read_unknown(parts: SplitResult, settings: Settings) -> _Endpoint:
    """Read an address of any other storage.

    Its path may be part of the endpoint (a gateway under a path), so that it is taken for the
    bucket only where it can be nothing else.
    """
    segments = [unquote(segment) for segment in parts.path.split("/") if segment]
    name = settings.bucket_name
    if name is None and len(segments) > 1:
        raise ConfigurationError(
            "BUCKET_ENDPOINT_URL has a path of several parts; set BUCKET_NAME to say which of "
            "them is the bucket, or leave the bucket out of the address."
        )
    if segments and name in {None, segments[-1]}:
        name = segments.pop()
    url = _address(parts, parts.hostname or "", "/".join(segments))
    return _Endpoint(url, name, settings.bucket_region)


def _address(parts: SplitResult, host: str, path: str = "") -> str:
    host = f"[{host}]" if ":" in host else host
    port = f":{parts.port}" if parts.port else ""
    return urlunsplit((parts.scheme, host + port, f"/{path}" if path else "", "", ""))


def _contradiction(what: str, values: set[str], variable: str) -> ConfigurationError:
    return ConfigurationError(
        f"The settings name more than one {what} ({', '.join(sorted(values))}): make "
        f"{variable} and BUCKET_ENDPOINT_URL agree, or leave it out of one of them."
    )
