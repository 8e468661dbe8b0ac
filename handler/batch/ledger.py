"""Where a batch's manifest and claims are, from what the command line names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from handler.batch.bucket import BucketAddress
from handler.batch.claim_store import FolderClaims
from handler.batch.claims import Claims, NoClaims
from handler.batch.manifest_file import ManifestFile
from handler.contract.errors import ConfigurationError

if TYPE_CHECKING:
    from handler.batch.claims import ClaimKeeper
    from handler.batch.job import Shard
    from handler.batch.manifest import Manifest
    from handler.settings import Settings


def open_ledger(
    settings: Settings, results: str, lease: float, shard: Shard | None
) -> tuple[Manifest, ClaimKeeper]:
    """Open the manifest and the claims beside it.

    Args:
        results: A file's path, or an ``s3://`` address that is used as a folder.
        lease: Seconds without a sign of life after which a worker counts as dead.
        shard: The worker's share; one that it has for itself needs no claims where none can be.

    Raises:
        ConfigurationError: The storage cannot keep claims, and the worker has no share.
        StorageError: The bucket cannot be used.
    """
    address = BucketAddress.parse(results)
    if address is None:
        path = Path(results)
        return ManifestFile(path), Claims(FolderClaims(Path(f"{path}.claims")), lease)

    from handler.batch.claim_bucket import BucketClaims
    from handler.batch.manifest_bucket import ManifestBucket
    from handler.shelf.s3 import s3_client

    client = s3_client(settings)
    manifest = ManifestBucket(client, address.bucket, address.folder)
    store = BucketClaims(client, address.bucket, f"{address.folder}claims/")
    try:
        store.check_exclusive()
    except ConfigurationError:
        if shard is None:
            raise
        return manifest, NoClaims()
    return manifest, Claims(store, lease)
