"""Which shelf the settings, or an address, mean."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from handler.contract.errors import ConfigurationError, EventError
from handler.shelf.bucket import BucketShelf
from handler.shelf.folder import FolderShelf
from handler.shelf.s3 import resolve_bucket, s3_client

if TYPE_CHECKING:
    from handler.settings import Settings
    from handler.shelf.shelf import Shelf

# A prefix that leaves room for the rest of a key within S3's 1,024 bytes.
_PREFIX = re.compile(r"(?!.*(?:^|/)\.{0,2}(?:/|$))[A-Za-z0-9!_.*'()/-]{1,400}")


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

    def open(self, settings: Settings) -> BucketShelf:
        """Return what is below the address, used as a folder, as a shelf."""
        return BucketShelf(s3_client(settings), self.bucket, prefix=self.folder.removesuffix("/"))


def open_storage(settings: Settings) -> Shelf:
    """Return the shelf for results: the bucket that is configured, else the folder RESULTS_DIR.

    Nothing is written or requested; :meth:`handler.shelf.Shelf.check` does that.

    Raises:
        ConfigurationError: The bucket's settings cannot work.
    """
    bucket = resolve_bucket(settings)
    if bucket is None:
        return FolderShelf(settings.results_dir)
    return BucketShelf(
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
