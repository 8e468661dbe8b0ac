"""A workflow's titles and descriptions in other languages, for pages that show them.

``workflows/<name>/manifest.<language>.toml`` says in that language what the manifest says in
English; see :class:`Translation`. What it leaves out stays English.
"""

from __future__ import annotations

import logging
import re
import tomllib
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from comfyui_runtime.errors import WorkflowError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from comfyui_runtime.workflow.manifest import Manifest

log = logging.getLogger(__name__)

_FILE = re.compile(r"manifest\.([a-z]{2,3})\.toml")


class _Words(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ParameterWords(_Words):
    """A parameter's name, as it stands beside a form's field, and its description."""

    label: str = Field(min_length=1)
    description: str = Field(min_length=1)


class Translation(_Words):
    """What a manifest says, in one language."""

    title: str | None = None
    description: str | None = None
    license_note: str | None = None
    images: dict[str, str] = Field({}, description="Descriptions of the images, by name.")
    files: dict[str, str] = Field({}, description="Descriptions of the files, by name.")
    parameters: dict[str, ParameterWords] = {}


def load_translations(folder: Path, name: str, manifest: Manifest) -> dict[str, Translation]:
    """Load the translations of ``folder/name`` by their language's code, such as ``zh``.

    A translation that cannot be used is logged and ignored: the workflow runs without it.
    """
    found = {}
    for path in sorted((folder / name).glob("manifest.*.toml")):
        match = _FILE.fullmatch(path.name)
        if match is None:
            continue
        try:
            found[match[1]] = _load(path, manifest)
        except WorkflowError as error:
            log.warning("translation left out", extra={"workflow": name, "error": error.message})
    return found


def _load(path: Path, manifest: Manifest) -> Translation:
    try:
        translation = Translation.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise WorkflowError(f"{path.name}: {where}: {first['msg']}.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise WorkflowError(f"{path.name} cannot be read as TOML: {error}.") from error
    unknown = list(_unknown_names(translation, manifest))
    if unknown:
        raise WorkflowError(f"{path.name} names what the manifest lacks: {', '.join(unknown)}.")
    return translation


def _unknown_names(translation: Translation, manifest: Manifest) -> Iterator[str]:
    yield from (f"images.{name}" for name in translation.images if name not in manifest.images)
    yield from (f"files.{name}" for name in translation.files if name not in manifest.files)
    yield from (
        f"parameters.{name}" for name in translation.parameters if name not in manifest.parameters
    )
