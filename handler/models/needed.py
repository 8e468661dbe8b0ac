"""Which model files the chosen workflows need, and where the list says that they are published."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from comfyui_runtime.errors import WorkflowError
from comfyui_runtime.run.model_files import same_folders
from comfyui_runtime.workflow.manifest import load_workflow, workflow_names
from handler.contract.errors import ConfigurationError
from listed_models.lock_file import LockFileError, read_lock
from listed_models.model_list import ModelListError, parse_model_list

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from comfyui_runtime.workflow.manifest import Workflow
    from handler.settings import Settings
    from listed_models.model_list import Model as ListedModel

log = logging.getLogger(__name__)

LOCK_NAME = "models.lock"


@dataclass(frozen=True)
class NeededModel:
    """A file that a workflow loads.

    Attributes:
        path: Folder and name below a models folder.
        file: The name as graphs have it.
        addresses: Where it is published; any of them will do. Without one, nobody knows where.
        sha256: In lower-case hexadecimal; ``None`` where nobody states it.
        optional: Whether the workflows' defaults run without it.
    """

    path: PurePosixPath
    file: str
    addresses: tuple[str, ...] = ()
    sha256: str | None = None
    optional: bool = False

    def find(self, folders: tuple[Path, ...]) -> Path | None:
        """Return the file, where one of the models folders has it."""
        kind, *rest = self.path.parts
        for folder in folders:
            for same in same_folders(kind):
                path = folder.joinpath(same, *rest)
                if path.is_file():
                    return path
        return None


def needed_models(settings: Settings) -> list[NeededModel]:
    """Return what the chosen workflows load, each file once, what they cannot do without first.

    Raises:
        ConfigurationError: The list of models, or its lock file, cannot be read.
        UnknownWorkflowError: A workflow that the settings name is not installed.
        WorkflowError: The files of a workflow that the settings name are wrong.
    """
    listed = _listed(settings.models_list)
    by_place = {place: model for model in listed.values() for place in _places(model.path)}
    needed: dict[PurePosixPath, NeededModel] = {}
    names = settings.fetch_workflows or tuple(workflow_names(settings.workflows_dir))
    for workflow in _workflows(settings, names):
        for model in workflow.manifest.models:
            place = PurePosixPath(model.folder, model.file)
            found = by_place.get(place, NeededModel(place, model.file))
            known = needed.get(found.path)
            optional = model.optional and (known is None or known.optional)
            needed[found.path] = replace(found, file=model.file, optional=optional)
    for path, groups in _groups(settings.models_list).items():
        if groups & set(names):
            needed.setdefault(path, listed[path])
    return sorted(needed.values(), key=lambda model: model.optional)


def _workflows(settings: Settings, names: tuple[str, ...]) -> list[Workflow]:
    workflows = []
    for name in names:
        try:
            workflows.append(load_workflow(settings.workflows_dir, name))
        except WorkflowError as error:
            if name in settings.fetch_workflows:
                raise
            log.warning("workflow is left out", extra={"workflow": name, "error": error.message})
    return workflows


def _listed(file: Path) -> dict[PurePosixPath, NeededModel]:
    try:
        lock = read_lock(file.with_name(LOCK_NAME))
    except LockFileError as error:
        raise ConfigurationError(f"{error}: correct it, or set MODELS_LIST.") from error
    return {
        model.path: NeededModel(
            model.path,
            str(model.path.relative_to(model.path.parts[0])),
            model.addresses,
            model.sha256 or lock.get(model.path),
        )
        for model in _entries(file)
    }


def _groups(file: Path) -> Mapping[PurePosixPath, frozenset[str]]:
    return {model.path: model.groups for model in _entries(file)}


def _entries(file: Path) -> list[ListedModel]:
    try:
        return parse_model_list(file.read_text("utf-8")) if file.exists() else []
    except (ModelListError, OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: {error}: correct it, or set MODELS_LIST.") from error


def _places(path: PurePosixPath) -> list[PurePosixPath]:
    kind, *rest = path.parts
    return [PurePosixPath(same, *rest) for same in same_folders(kind)]
