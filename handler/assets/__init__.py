"""Files that callers have uploaded, and that jobs may name: records over bytes kept by hash."""

from handler.assets.store import Asset, AssetStore, Wish, file_hash
from handler.assets.sweep import sweep_assets

__all__ = ["Asset", "AssetStore", "Wish", "file_hash", "sweep_assets"]
