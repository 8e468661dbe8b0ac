"""From the body of a submission to an event, through the one door that all events take.

What stands where a file's name would is an asset: a reference to one, or the name under which one
was uploaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from comfyui_runtime.workflow.editor import is_editor_format
from comfyui_runtime.workflow.manifest import load_workflow
from handler.contract.errors import (
    EditorFormatError,
    EventError,
    MetadataError,
    MissingAssetError,
)
from handler.job.caller_graph import caller_graph, caller_workflow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from handler.assets import Asset, AssetStore
    from handler.settings import Settings

NAMED_WORKFLOW = "serverless-comfyui/WORKFLOW"
"""The ``__type`` of an object that names an installed workflow in place of a graph."""
_ASSET = "core/ASSET"
_TYPE = "__type"
_MOST_LABELS = 16
_LONGEST_LABEL_KEY = 64
_LONGEST_LABEL = 512
_URL_SECONDS = 604_800


class ExtraData(BaseModel):
    """What goes with one run and is never kept."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    api_key_comfy_org: SecretStr | None = None


class SubmissionBody(BaseModel):
    """The body of a submission."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    workflow: dict[str, Any] = Field(min_length=1)
    extra_data: ExtraData | None = None
    metadata: Any = None

    @property
    def labels(self) -> dict[str, str]:
        """The job's labels.

        Raises:
            MetadataError: They are not what they may be.
        """
        return checked_labels(self.metadata)


class _NamedWorkflow(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    params: dict[str, Any] = Field(default_factory=dict)
    images: dict[str, Any] = Field(default_factory=dict)
    files: dict[str, Any] = Field(default_factory=dict)
    output: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class Prepared:
    """A submission that can be queued.

    Attributes:
        event: Decoded JSON, as the door takes it.
        nodes: The class of each of the graph's nodes.
    """

    event: dict[str, Any]
    nodes: Mapping[str, str]


def checked_labels(given: object) -> dict[str, str]:
    """Return a job's labels.

    Raises:
        MetadataError: They are no object of few short texts.
    """
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise MetadataError("metadata has to be an object of texts.")
    if len(given) > _MOST_LABELS:
        raise MetadataError(f"metadata has {len(given)} pairs; at most {_MOST_LABELS} are allowed.")
    for key, value in given.items():
        if not 0 < len(key) <= _LONGEST_LABEL_KEY:
            raise MetadataError(
                f"metadata: the key {key[:_LONGEST_LABEL_KEY]!r} has to have 1 to "
                f"{_LONGEST_LABEL_KEY} characters."
            )
        if not isinstance(value, str) or len(value) > _LONGEST_LABEL:
            raise MetadataError(
                f"metadata: {key!r} has to be a text of up to {_LONGEST_LABEL} characters."
            )
    return given


def prepare(body: SubmissionBody, assets: AssetStore, settings: Settings) -> Prepared:
    """Return the event that a submission makes.

    Raises:
        EditorFormatError: The workflow is in the editor's format.
        GraphError: It is no graph.
        MissingAssetError: It names an asset that does not exist.
        UnknownWorkflowError: It names a workflow that is not installed.
        EventError: It names a workflow in a way that is not documented.
    """
    if body.workflow.get(_TYPE) == NAMED_WORKFLOW:
        return _prepare_named(body, assets, settings)
    if is_editor_format(body.workflow):
        raise EditorFormatError(
            "The workflow is in the format that ComfyUI's editor saves. Use Workflow > Export "
            "(API) in ComfyUI."
        )
    found = _Assets(assets)
    graph = found.put_in(body.workflow)
    # What no reference names is what was uploaded under its name.
    read = caller_graph(graph, None)
    manifest = caller_workflow(read).manifest
    job_input: dict[str, Any] = {
        "workflow": graph,
        "images": {name: found.source(name) for name in manifest.images},
        "files": {name: found.source(name) for name in manifest.files},
        "output": {"embed_workflow": True, "expires_in": _URL_SECONDS},
    }
    nodes = {node_id: node.class_type for node_id, node in read.nodes.items()}
    return Prepared({"input": _with_key(job_input, body)}, nodes)


def _prepare_named(body: SubmissionBody, assets: AssetStore, settings: Settings) -> Prepared:
    info = body.workflow.get("info")
    try:
        named = _NamedWorkflow.model_validate(info)
    except ValueError as error:
        raise EventError(
            f"{NAMED_WORKFLOW}: info has to be an object with the workflow's name and, where it "
            "takes them, params, images, files and output."
        ) from error
    if named.output.get("delivery", "url") != "url":
        raise EventError(f"{NAMED_WORKFLOW}: outputs are assets; leave output.delivery out.")
    workflow = load_workflow(settings.workflows_dir, named.name)
    job_input = {
        "workflow": named.name,
        "params": named.params,
        "images": _named_sources(named.images, assets),
        "files": _named_sources(named.files, assets),
        "output": {"expires_in": _URL_SECONDS, **named.output},
    }
    nodes = {node_id: node.class_type for node_id, node in workflow.graph.nodes.items()}
    return Prepared({"input": _with_key(job_input, body)}, nodes)


def _named_sources(given: dict[str, Any], assets: AssetStore) -> dict[str, Any]:
    """Return sources as events say them, of references, of names of assets, or as they are."""
    sources: dict[str, Any] = {}
    for name, source in given.items():
        if _is_reference(source):
            sources[name] = _source(_referred(source, assets))
        elif isinstance(source, str) and (asset := assets.find_by_name(source)) is not None:
            sources[name] = _source(asset)
        else:
            sources[name] = source
    return sources


def _with_key(job_input: dict[str, Any], body: SubmissionBody) -> dict[str, Any]:
    key = body.extra_data.api_key_comfy_org if body.extra_data else None
    if key is None:
        return job_input
    return {**job_input, "comfy_org_api_key": key.get_secret_value()}


class _Assets:
    """The assets that a graph refers to, each under a name of its own."""

    def __init__(self, assets: AssetStore) -> None:
        self._assets = assets
        self._names: dict[str, str] = {}
        self._sources: dict[str, str] = {}

    def put_in(self, graph: Mapping[str, Any]) -> dict[str, Any]:
        """Return a graph with names in place of references."""
        return {key: self._put_in(value, 0) for key, value in graph.items()}

    def source(self, name: str) -> str:
        """Return where the file of a name comes from, as events say it.

        Raises:
            MissingAssetError: No reference has this name, and no asset was uploaded under it.
        """
        if name in self._sources:
            return self._sources[name]
        asset = self._assets.find_by_name(name)
        if asset is None:
            raise MissingAssetError(
                f"The workflow loads {name!r}, and no asset of that name was uploaded. Upload "
                "the file under that name, or put an asset reference in its place.",
                file_path=name,
            )
        return _source(asset)

    def _put_in(self, value: Any, depth: int) -> Any:  # noqa: ANN401 - JSON
        if _is_reference(value):
            return self._name(_referred(value, self._assets))
        if depth > 50:  # noqa: PLR2004 - no graph is; the door says what is wrong
            return value
        if isinstance(value, dict):
            return {key: self._put_in(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list):
            return [self._put_in(item, depth + 1) for item in value]
        return value

    def _name(self, asset: Asset) -> str:
        known = self._names.get(asset.id)
        if known is not None:
            return known
        name = PurePath(asset.file_path or asset.id).name or asset.id
        if name in self._sources:
            name = f"{asset.id}-{name}"
        self._names[asset.id] = name
        self._sources[name] = _source(asset)
        return name


def _is_reference(value: object) -> bool:
    return isinstance(value, dict) and value.get(_TYPE) == _ASSET


def _referred(reference: dict[str, Any], assets: AssetStore) -> Asset:
    info = reference.get("info")
    asset_id = info.get("id") if isinstance(info, dict) else None
    if not isinstance(asset_id, str):
        raise MissingAssetError(f"A {_ASSET} reference has to have its asset's id as info.id.")
    asset = assets.find(asset_id)
    if asset is None:
        raise MissingAssetError(
            f"There is no asset {asset_id[:100]}; it may have expired. Upload the file again.",
            asset=asset_id[:100],
        )
    return asset


def _source(asset: Asset) -> str:
    return f"asset:{asset.id}"
