"""Which storage the settings mean."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from handler.contract.errors import ConfigurationError
from handler.shelf.bucket import S3Storage
from handler.shelf.folder import LocalStorage
from handler.shelf.s3 import resolve_bucket, s3_client

if TYPE_CHECKING:
    from handler.settings import Settings
    from handler.shelf.contract import Storage

# A prefix that leaves room for the rest of a key within S3's 1,024 bytes.
_PREFIX = re.compile(r"(?!.*(?:^|/)\.{0,2}(?:/|$))[A-Za-z0-9!_.*'()/-]{1,400}")


def open_storage(settings: Settings) -> Storage:
    """Return the bucket that is configured, else the folder RESULTS_DIR.

    Nothing is written or requested; :meth:`handler.shelf.Storage.check` does that.

    Raises:
        ConfigurationError: The bucket's settings cannot work.
    """
    bucket = resolve_bucket(settings)
    if bucket is None:
        return LocalStorage(settings.results_dir)
    return S3Storage(
        s3_client(settings),
        bucket.name,
        prefix=_prefix(settings.bucket_prefix),
        public_url=_public_url(settings.bucket_public_url),
        cache_control=settings.cache_control,
    )


def _prefix(value: str) -> str:
    prefix = value.strip("/")
    if prefix and not _PREFIX.fullmatch(prefix):
        raise ConfigurationError(
            "BUCKET_PREFIX has to be folder names with single slashes between them, of letters, "
            "digits and !_.*'()- only, such as results/production."
        )
    return prefix


def _public_url(value: str | None) -> str | None:
    if value is not None and not value.startswith(("https://", "http://")):
        raise ConfigurationError(
            "BUCKET_PUBLIC_URL has to start with https:// (or http://), such as "
            "https://images.example.com."
        )
    return value
