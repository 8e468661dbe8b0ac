"""What the models folders hold, logged for whoever looks for a model that is not found."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from handler.settings import Settings

log = logging.getLogger(__name__)

_MOST_FILES = 200


def report_models_folders(settings: Settings) -> None:
    """Log, for each models folder, which kinds it has and which files they hold."""
    for folder in (settings.comfyui_base_dir / "models", *settings.all_model_dirs):
        if not folder.is_dir():
            log.info("models folder is not there", extra={"folder": str(folder)})
            continue
        kinds = {kind.name: _files(kind) for kind in sorted(folder.iterdir()) if kind.is_dir()}
        log.info("models folder", extra={"folder": str(folder), "kinds": kinds})


def _files(kind: Path) -> list[str]:
    found = sorted(path for path in kind.rglob("*") if path.is_file())
    names = [f"{path.relative_to(kind)} ({path.stat().st_size} bytes)" for path in found]
    more = len(names) - _MOST_FILES
    return names if more <= 0 else [*names[:_MOST_FILES], f"and {more} more"]
