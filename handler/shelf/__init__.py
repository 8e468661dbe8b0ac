"""Where results go: a bucket, or a folder where no bucket is configured."""

from handler.shelf.bucket import S3Storage
from handler.shelf.contract import Storage, StoredFile
from handler.shelf.folder import LocalStorage
from handler.shelf.kept import KeptResults, open_kept_results
from handler.shelf.keys import result_key
from handler.shelf.selection import open_storage

__all__ = [
    "KeptResults",
    "LocalStorage",
    "S3Storage",
    "Storage",
    "StoredFile",
    "open_kept_results",
    "open_storage",
    "result_key",
]
