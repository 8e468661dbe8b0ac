"""Where bytes are kept: one interface, a folder and a bucket behind it."""

from handler.shelf.bucket import BucketShelf
from handler.shelf.folder import FolderShelf
from handler.shelf.keys import result_key
from handler.shelf.selection import BucketAddress, open_storage
from handler.shelf.shelf import Entry, Shelf

__all__ = [
    "BucketAddress",
    "BucketShelf",
    "Entry",
    "FolderShelf",
    "Shelf",
    "open_storage",
    "result_key",
]
