"""Keeps the machine's folders out of what callers read: each goes by its setting's name."""

from __future__ import annotations

import copy
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from handler.settings import PROJECT_DIR

if TYPE_CHECKING:
    from pydantic import JsonValue

    from comfyui_runtime.errors import ServiceError
    from handler.settings import Settings

    AnyError = TypeVar("AnyError", bound=ServiceError)


def without_paths(error: AnyError, settings: Settings) -> AnyError:
    """Return an error whose message and details name settings in place of absolute folders."""
    told = copy.copy(error)
    names = _names(settings)
    told.message = _hide(error.message, names)
    told.details = {name: _hide_in(value, names) for name, value in error.details.items()}
    return told


def hide_paths(text: str, settings: Settings) -> str:
    """Return a text that names settings in place of absolute folders."""
    return _hide(text, _names(settings))


def _names(settings: Settings) -> dict[str, str]:
    """Return a name for each folder, folders inside others first."""
    named: list[tuple[Path | None, str]] = [
        (settings.comfyui_dir, "COMFYUI_DIR"),
        (settings.comfyui_base_dir, "COMFYUI_BASE_DIR"),
        *((folder, "COMFYUI_MODEL_DIRS") for folder in settings.model_dirs),
        *((folder, "COMFYUI_NODE_DIRS") for folder in settings.node_pack_dirs),
        (settings.models_fetch_dir, "MODELS_FETCH_DIR"),
        (settings.url_cache_dir, "MODEL_URL_CACHE_DIR"),
        (settings.workflows_dir, "WORKFLOWS_DIR"),
        (settings.results_dir, "RESULTS_DIR"),
        (settings.kept_results_dir, "KEPT_RESULTS_DIR"),
        (Path(tempfile.gettempdir()), "TMPDIR"),
        (Path(sys.prefix), "python"),
        (PROJECT_DIR, "project"),
    ]
    found: dict[str, str] = {}
    for folder, name in named:
        if folder is not None:
            for path in (folder.absolute(), folder.resolve()):
                found.setdefault(str(path), name)
    found.pop("/", None)
    return dict(sorted(found.items(), key=lambda item: len(item[0]), reverse=True))


def _hide(text: str, names: dict[str, str]) -> str:
    for path, name in names.items():
        if path in text:
            text = re.sub(rf"(?<![\w.-]){re.escape(path)}(?![\w-])", name, text)
    return text


def _hide_in(value: JsonValue, names: dict[str, str]) -> JsonValue:
    match value:
        case str():
            return _hide(value, names)
        case list():
            return [_hide_in(item, names) for item in value]
        case dict():
            return {key: _hide_in(item, names) for key, item in value.items()}
        case _:
            return value
