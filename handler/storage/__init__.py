"""Where results go: a bucket, or a folder where no bucket is configured."""

from handler.storage.bucket import S3Storage
from handler.storage.contract import Storage, StoredFile
from handler.storage.folder import LocalStorage
from handler.storage.kept import KeptResults, open_kept_results
from handler.storage.keys import result_key
from handler.storage.selection import open_storage

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
