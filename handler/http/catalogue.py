"""The workflows and models of this installation, and what each workflow lacks."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from comfyui_runtime.errors import MissingModelError, ModelError, ServiceError
from comfyui_runtime.run.model_files import ModelFolders, check_model_file
from comfyui_runtime.workflow.files import Media
from comfyui_runtime.workflow.manifest import load_workflow, workflow_names
from comfyui_runtime.workflow.patch import default_graph
from comfyui_runtime.workflow.translations import Translation, load_translations
from handler.contract.schema import parameter_schema, workflow_event_schema
from handler.machine_paths import hide_paths
from handler.models.fetching import bytes_so_far

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comfyui_runtime.workflow.manifest import Model, Workflow
    from handler.settings import Settings

_FRESH_SECONDS = 5.0


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True)


class ModelEntry(_Entry):
    """A model file that a workflow names."""

    folder: str
    file: str
    optional: bool = Field(description="Whether the workflow's defaults run without it.")
    problem: str | None = Field(description="Why it cannot be used; null where nothing is wrong.")


class ImageEntry(_Entry):
    """A photo that a workflow takes."""

    description: str
    required: bool


class FileEntry(_Entry):
    """A video, a sound or another file that a workflow takes."""

    description: str
    required: bool
    media: Media


class ParameterEntry(_Entry):
    """A parameter, by its type and as a JSON Schema that has its bounds, default and meaning."""

    type: str
    description: str
    step: float | None = Field(description="A sensible step, for numbers.")
    schema_: dict[str, Any] = Field(alias="schema")


class WorkflowEntry(_Entry):
    """An installed workflow."""

    name: str
    runnable: bool
    problems: list[str] = Field(description="What keeps it from running, and what to do about it.")
    title: str = ""
    description: str = ""
    version: str = ""
    license_note: str | None = None
    images: dict[str, ImageEntry] = {}
    files: dict[str, FileEntry] = {}
    parameters: dict[str, ParameterEntry] = {}
    models: list[ModelEntry] = []
    event_schema: dict[str, Any] = Field({}, description="JSON Schema of its events.")
    translations: dict[str, Translation] = Field(
        {}, description="Title and descriptions in other languages, by language code."
    )


class ModelFile(_Entry):
    """A model file, and the workflows that name it."""

    folder: str
    file: str
    problem: str | None
    workflows: list[str]


class Catalogue:
    """Looks at the files again when the last look is a few seconds old. Safe from any thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folders = ModelFolders(settings.comfyui_base_dir / "models", settings.all_model_dirs)
        self._lock = threading.Lock()
        self._entries: tuple[WorkflowEntry, ...] = ()
        self._looked_at = -_FRESH_SECONDS
        self._node_classes: frozenset[str] | None = None

    def set_node_classes(self, node_classes: frozenset[str]) -> None:
        """Take the node classes that graphs can name; until then they are not looked at."""
        with self._lock:
            self._node_classes = node_classes
            self._looked_at = -_FRESH_SECONDS

    def workflows(self) -> tuple[WorkflowEntry, ...]:
        """Return every installed workflow, by name. Reads files: not for the event loop."""
        with self._lock:
            if time.monotonic() - self._looked_at >= _FRESH_SECONDS:
                self._entries = tuple(
                    map(self._entry, workflow_names(self._settings.workflows_dir))
                )
                self._looked_at = time.monotonic()
            return self._entries

    def models(self) -> list[ModelFile]:
        """Return every model that a workflow names. Reads files: not for the event loop."""
        users: dict[tuple[str, str], list[str]] = {}
        problems: dict[tuple[str, str], str | None] = {}
        for workflow in self.workflows():
            for model in workflow.models:
                place = (model.folder, model.file)
                users.setdefault(place, []).append(workflow.name)
                problems[place] = model.problem
        return [
            ModelFile(
                folder=folder,
                file=file,
                problem=problems[folder, file],
                workflows=users[folder, file],
            )
            for folder, file in sorted(users)
        ]

    def problems(self) -> list[str]:
        """Return what keeps this installation from its work; see the setting READY_WORKFLOWS."""
        workflows = {workflow.name: workflow for workflow in self.workflows()}
        needed = self._settings.ready_workflows
        if not needed:
            if any(workflow.runnable for workflow in workflows.values()):
                return []
            return [
                problem for workflow in workflows.values() for problem in workflow.problems
            ] or ["No workflow is installed: set WORKFLOWS_DIR."]
        missing = [f"The workflow {name} is not installed." for name in needed - workflows.keys()]
        installed = [workflows[name] for name in sorted(needed & workflows.keys())]
        return sorted(missing) + [problem for entry in installed for problem in entry.problems]

    def _entry(self, name: str) -> WorkflowEntry:
        try:
            workflow = load_workflow(self._settings.workflows_dir, name)
        except ServiceError as error:
            problem = hide_paths(error.message, self._settings)
            return WorkflowEntry(name=name, runnable=False, problems=[problem])
        manifest = workflow.manifest
        models = [self._model(model) for model in manifest.models]
        lacking = [model.problem for model in models if model.problem and not model.optional]
        problems = lacking + list(self._missing_node_classes(workflow))
        return WorkflowEntry(
            name=name,
            runnable=not problems,
            problems=problems,
            title=manifest.title,
            description=manifest.description,
            version=manifest.version,
            license_note=manifest.license_note,
            images={
                name: ImageEntry(description=image.description, required=image.required)
                for name, image in manifest.images.items()
            },
            files={
                name: FileEntry(
                    description=file.description, required=file.required, media=file.media
                )
                for name, file in manifest.files.items()
            },
            parameters={
                name: ParameterEntry(
                    type=parameter.type,
                    description=parameter.description,
                    step=getattr(parameter, "step", None),
                    schema=parameter_schema(parameter),
                )
                for name, parameter in manifest.parameters.items()
            },
            models=models,
            event_schema=workflow_event_schema(workflow),
            translations=load_translations(self._settings.workflows_dir, name, manifest),
        )

    def _model(self, model: Model) -> ModelEntry:
        problem = None
        try:
            check_model_file(self._folders, model)
        except MissingModelError as error:
            problem = hide_paths(error.message, self._settings)
            arrived = bytes_so_far(self._settings, model.folder, model.file)
            if arrived is not None:
                problem = (
                    f"The model {model.folder}/{model.file} is being fetched: {arrived:,} bytes "
                    "have arrived."
                )
        except ModelError as error:
            problem = hide_paths(error.message, self._settings)
        return ModelEntry(
            folder=model.folder, file=model.file, optional=model.optional, problem=problem
        )

    def _missing_node_classes(self, workflow: Workflow) -> Iterator[str]:
        if self._node_classes is None:
            return
        needed = {node.class_type for node in default_graph(workflow).nodes.values()}
        for name in sorted(needed - self._node_classes):
            pack = workflow.manifest.node_packs.get(name)
            where = f" of the node pack {pack}" if pack else ""
            yield f"The node class {name}{where} is missing: run ./provision.sh with its profile."
