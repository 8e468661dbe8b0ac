"""A workflow is data: a folder with a graph in API format and a manifest.

``workflows/<name>/graph.json`` is what ComfyUI's "Export (API)" writes.
``workflows/<name>/manifest.toml`` says what a caller may change in it; see :class:`Manifest`.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from comfyui_runtime.errors import UnknownWorkflowError, WorkflowError
from comfyui_runtime.workflow.files import FILE_LOADERS, FileLoader, Media
from comfyui_runtime.workflow.graph import Graph, NodeId, parse_graph
from comfyui_runtime.workflow.parameters import NotAllowedError, Parameter, Parameters

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

GRAPH_FILE = "graph.json"
MANIFEST_FILE = "manifest.toml"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


class ImageInput(BaseModel):
    """A named image that the caller gives.

    Attributes:
        node: Id of the node that loads it, whose outputs 0 and 1 are IMAGE and MASK, as those of
            ``LoadImage`` are.
        required: Whether an event without it is refused. A workflow runs without an optional
            image only if a branch with ``without_image`` takes the node out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    node: NodeId
    description: str = Field(min_length=1)
    required: bool = True


class FileInput(BaseModel):
    """A named video, sound or other file that the caller gives.

    Attributes:
        node: Id of the node that loads it.
        media: What it is. A video or a sound is looked into before it is used, any other file is
            not.
        input: Name of the node's input that takes the file's name in ComfyUI's input folder; not
            needed for a class that :data:`comfyui_runtime.workflow.files.FILE_LOADERS` knows.
        required: Whether an event without it is refused. A workflow runs without an optional
            file only if a branch with ``without_file`` takes the node out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    node: NodeId
    media: Media
    description: str = Field(min_length=1)
    input: str | None = None
    required: bool = True

    def loader(self, class_type: str) -> FileLoader | None:
        """Return how a node of this class takes the file; ``None`` where nothing says it."""
        known = FILE_LOADERS.get(class_type)
        if self.input is None or (known is not None and known.input == self.input):
            return known
        return FileLoader(self.media, self.input)


class Branch(BaseModel):
    """A part of the graph that is removed where it would do nothing.

    Nodes that fed only what was taken out go with it.

    Attributes:
        off_when: Parameter values; the branch is off when every one of them is met.
        without_image: Name of an optional image; the branch is off when it was not given.
        without_file: Name of an optional file; the branch is off when it was not given.
        bypass: For each node to take out, which of its inputs stands in for which of its outputs
            (by output index), as "Bypass" in ComfyUI's editor does.
        set: Inputs ("<node id>.<input name>") that get a constant in place of a link.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    off_when: dict[str, bool | int | float | str] = Field(default_factory=dict)
    without_image: str | None = None
    without_file: str | None = None
    bypass: dict[NodeId, dict[int, str]] = Field(default_factory=dict)
    set: dict[str, JsonValue] = Field(default_factory=dict)


class Model(BaseModel):
    """A model file that the graph names.

    Attributes:
        folder: ComfyUI's name of the folder kind, such as ``checkpoints``.
        file: Name below that folder, as the node's input gives it.
        optional: Whether the workflow's defaults run without it.
        tensors: Shapes of some tensors that tell the architecture the graph is made for, by name,
            for a safetensors file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: str
    file: str
    optional: bool = False
    tensors: dict[str, tuple[int, ...]] = Field(default_factory=dict)


class Manifest(BaseModel):
    """What a workflow's ``manifest.toml`` holds.

    Attributes:
        version: Changes whenever the same request would give another picture.
        images: The images that a caller gives, by name; a single one is named "image". One whose
            node is a ``LoadImageMask`` is a mask.
        files: The videos, sounds and other files that a caller gives, by name.
        parameters: What a caller may change, by name.
        branches: Parts of the graph that some parameter values switch off, applied in order.
        models: Model files that the graph needs.
        node_packs: For each node class that is not ComfyUI's own, the pack that defines it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str = Field(min_length=1)
    description: str = Field(min_length=1)
    version: str = Field(min_length=1)
    license_note: str | None = None
    images: dict[str, ImageInput] = Field(default_factory=dict)
    files: dict[str, FileInput] = Field(default_factory=dict)
    parameters: dict[str, Parameter] = Field(default_factory=dict)
    branches: tuple[Branch, ...] = ()
    models: tuple[Model, ...] = ()
    node_packs: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class Workflow:
    """A loaded workflow.

    Attributes:
        digest: SHA-256 of both files, in hex.
    """

    name: str
    graph: Graph
    manifest: Manifest
    digest: str


@dataclass(frozen=True)
class InputRef:
    """One input of one node, written ``<node id>.<input name>`` in a manifest."""

    node_id: NodeId
    name: str

    @classmethod
    def parse(cls, text: str) -> InputRef:
        """Read ``<node id>.<input name>``; a node id holds no dot."""
        node_id, _, name = text.partition(".")
        return cls(node_id, name)


def workflow_names(folder: Path) -> list[str]:
    """Return the names of the workflows below a folder, sorted."""
    return sorted(path.parent.name for path in folder.glob(f"*/{MANIFEST_FILE}"))


def load_workflow(folder: Path, name: str) -> Workflow:
    """Load ``folder/name``.

    Raises:
        UnknownWorkflowError: There is no such workflow; ``details["allowed"]`` lists what is.
        WorkflowError: Its files are wrong; the message names the file and the place.
    """
    # The name is the caller's: one of this pattern cannot lead out of the folder.
    if not (_NAME.fullmatch(name) and (folder / name / MANIFEST_FILE).exists()):
        raise _not_there(folder, name)
    return _parse(name, _read(folder, name, MANIFEST_FILE), _read(folder, name, GRAPH_FILE))


def _not_there(folder: Path, name: str) -> UnknownWorkflowError | WorkflowError:
    names = workflow_names(folder)
    if name in names:
        return WorkflowError(
            f'Rename the folder "{name}": the name of a workflow has lower-case letters, digits, '
            "_ and - only."
        )
    return UnknownWorkflowError(
        f'There is no workflow "{name}". Installed: {", ".join(names) or "none"}.',
        allowed=list[JsonValue](names),
    )


# Every job loads its workflow, so that a changed file takes effect at once; the same bytes are
# parsed once. The texts are small.
@functools.lru_cache(maxsize=64)
def _parse(name: str, manifest_bytes: bytes, graph_bytes: bytes) -> Workflow:
    manifest = _parse_manifest(name, manifest_bytes)
    try:
        graph = parse_graph(json.loads(graph_bytes))
    except (ValueError, RecursionError) as error:
        raise WorkflowError(f"{name}/{GRAPH_FILE} cannot be read as JSON: {error}.") from error
    except WorkflowError as error:
        raise WorkflowError(f"{name}/{GRAPH_FILE}: {error.message}", **error.details) from error
    _References(name, manifest, graph).check()
    digest = hashlib.sha256(hashlib.sha256(graph_bytes).digest() + manifest_bytes).hexdigest()
    return Workflow(name, graph, manifest, digest)


def _read(folder: Path, name: str, file: str) -> bytes:
    try:
        return (folder / name / file).read_bytes()
    except OSError as error:
        raise WorkflowError(f"{name}/{file} cannot be read: {error.strerror}.") from error


def _parse_manifest(name: str, data: bytes) -> Manifest:
    try:
        manifest = Manifest.model_validate(tomllib.loads(data.decode()))
        Parameters(by_name=manifest.parameters)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        place = f"{where}: " if where else ""
        raise WorkflowError(f"{name}/{MANIFEST_FILE}: {place}{first['msg']}.") from error
    except (ValueError, RecursionError) as error:
        raise WorkflowError(f"{name}/{MANIFEST_FILE} is not TOML: {error}.") from error
    return manifest


@dataclass(frozen=True)
class _References:
    """What a manifest names in its graph."""

    name: str
    manifest: Manifest
    graph: Graph

    def check(self) -> None:
        for name in self.manifest.images.keys() & self.manifest.files.keys():
            raise self._error(f"{name} is both an image and a file: rename one of them.")
        for name, image in self.manifest.images.items():
            self._check_node(f"image {name} names", image.node)
            if not image.required and not self._can_do_without(name):
                raise self._error(
                    f"image {name} is optional, but no branch takes its node out: add one with "
                    f'without_image = "{name}".'
                )
        for name, file in self.manifest.files.items():
            self._check_file(name, file)
        for name, parameter in self.manifest.parameters.items():
            for text in parameter.patches:
                self._check_input(f"parameter {name}", text)
        for number, branch in enumerate(self.manifest.branches):
            self._check_branch(f"branch {number}", branch)

    def _check_file(self, name: str, file: FileInput) -> None:
        self._check_node(f"file {name} names", file.node)
        class_type = self.graph.nodes[file.node].class_type
        loader = file.loader(class_type)
        if loader is None:
            raise self._error(
                f"file {name} names node {file.node} of the class {class_type}: add the name of "
                "its input that takes the file's name, as input."
            )
        self._check_input(f"file {name}", f"{file.node}.{loader.input}")
        optional = (branch.without_file == name for branch in self.manifest.branches)
        if not file.required and not any(optional):
            raise self._error(
                f"file {name} is optional, but no branch takes its node out: add one with "
                f'without_file = "{name}".'
            )

    def _check_branch(self, where: str, branch: Branch) -> None:
        if not branch.off_when and branch.without_image is None and branch.without_file is None:
            raise self._error(f"{where} needs off_when or without_image or without_file.")
        for name, value in branch.off_when.items():
            if name not in self.manifest.parameters:
                raise self._error(f"{where} names parameter {name}, which is not declared.")
            try:
                self.manifest.parameters[name].check(value)
            except NotAllowedError as error:
                raise self._error(f"{where} is never off: parameter {name} {error}.") from error
        if branch.without_image is not None and branch.without_image not in self.manifest.images:
            raise self._error(f"{where} names image {branch.without_image}, which is not declared.")
        if branch.without_file is not None and branch.without_file not in self.manifest.files:
            raise self._error(f"{where} names file {branch.without_file}, which is not declared.")
        for text in branch.set:
            self._check_input(where, text)
        for node_id, stand_ins in branch.bypass.items():
            self._check_node(f"{where} bypasses", node_id)
            for input_name in stand_ins.values():
                self._check_input(where, f"{node_id}.{input_name}")

    def _check_input(self, where: str, text: str) -> None:
        ref = InputRef.parse(text)
        self._check_node(f"{where} names", ref.node_id)
        inputs = self.graph.nodes[ref.node_id].inputs
        if ref.name not in inputs:
            raise self._error(
                f'{where} names "{text}", but node {ref.node_id} has the inputs '
                f"{', '.join(inputs) or 'none'}."
            )

    def _check_node(self, what: str, node_id: NodeId) -> None:
        if node_id not in self.graph.nodes:
            raise self._error(f"{what} node {node_id}, which the graph lacks.")

    def _can_do_without(self, image: str) -> bool:
        return any(branch.without_image == image for branch in self.manifest.branches)

    def _error(self, problem: str) -> WorkflowError:
        return WorkflowError(f"{self.name}/{MANIFEST_FILE}: {problem}")


def branch_is_off(
    branch: Branch, values: Mapping[str, bool | int | float | str], given: set[str]
) -> bool:
    """Say whether these parameter values, and the names of what was given, switch a branch off."""
    if branch.without_image in given or branch.without_file in given:
        return False
    return all(values[name] == value for name, value in branch.off_when.items())
