"""What a source becomes: graph, manifest, models, packs, and all that is still lacking."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from comfyui_runtime.errors import WorkflowError
from comfyui_runtime.workflow.editor import (
    EditorDocument,
    PromotedInput,
    convert,
    is_editor_format,
    parse_document,
)
from comfyui_runtime.workflow.graph import Graph, Node, as_link, parse_graph
from handler.adding.errors import PaidServiceError, WorkflowFileError
from handler.adding.manifest_text import manifest_text
from handler.adding.models import NamedModel, named_models
from handler.adding.packs import NamedPack, core_version, named_packs
from handler.adding.parameters import (
    FILE_LISTS,
    DraftFile,
    DraftImage,
    DraftParameter,
    draft_files,
    draft_images,
    draft_parameters,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from comfyui_runtime.workflow.editor import NodeDefinition
    from handler.adding.installed import Installed
    from handler.adding.source import Source

_OTHER_MEDIA = {"VHS_LoadImages": "folder of images", "VHS_LoadImagesPath": "folder of images"}


@dataclass(frozen=True)
class MissingClass:
    """A node class that is not installed.

    Attributes:
        pack: Where it comes from, as far as the file says: a pack's id, or ``comfy-core``.
        version: That pack's version in the file; of ``comfy-core``, a ComfyUI release.
        failure: Why the installed file that defines it does not import, if that is so.
    """

    class_type: str
    pack: str | None
    version: str | None
    failure: str | None = None


@dataclass(frozen=True)
class Addition:
    """A workflow ready to be written, and what it still lacks.

    Attributes:
        saved_with: The ComfyUI release that the file says it was saved with.
        refused: Values that the installed classes do not take, as sentences.
        other_media: Nodes that load what a manifest cannot declare, with its kind.
        warnings: Sentences about what was chosen or left out.
    """

    name: str
    title: str
    description: str
    graph: Graph
    images: tuple[DraftImage, ...]
    files: tuple[DraftFile, ...]
    parameters: tuple[DraftParameter, ...]
    models: tuple[NamedModel, ...]
    packs: tuple[NamedPack, ...]
    missing: tuple[MissingClass, ...]
    saved_with: str | None
    refused: tuple[str, ...]
    other_media: Mapping[str, str]
    warnings: tuple[str, ...]

    @property
    def unresolved_models(self) -> tuple[NamedModel, ...]:
        """The models whose address or folder the file does not say."""
        return tuple(one for one in self.models if one.url is None or one.folder is None)

    def manifest(self) -> str:
        """Return the text of ``manifest.toml``."""
        return manifest_text(
            title=self.title,
            description=self.description,
            license_note=_license_note(self.models),
            images=self.images,
            files=self.files,
            parameters=self.parameters,
            models=self.models,
            node_packs={name: pack.name for pack in self.packs for name in pack.classes},
        )


def class_types(source: Source) -> list[str]:
    """Return the node classes that a source names, those of subgraphs included.

    Raises:
        WorkflowFileError: The source is damaged.
    """
    if is_editor_format(source.data):
        return [node.type for node in _document(source).nodes()]
    return [node.class_type for node in _api_graph(source).nodes.values()]


def analyse(source: Source, installed: Installed, *, name: str | None = None) -> Addition:
    """Turn a source into a workflow.

    Args:
        name: The workflow's name in place of the source's.

    Raises:
        WorkflowFileError: The source is damaged, has a cycle, or makes nothing.
        PaidServiceError: A node that would run calls a paid service.
    """
    definitions = installed.definitions
    document: EditorDocument | None = None
    promoted: tuple[PromotedInput, ...] = ()
    warnings: list[str] = []
    if is_editor_format(source.data):
        document = _document(source)
        try:
            conversion = convert(document, definitions)
            if not conversion.graph:
                raise WorkflowFileError("The workflow has no node that would run.")
            graph = parse_graph(conversion.graph)
        except WorkflowError as error:
            raise WorkflowFileError(error.message, **error.details) from error
        promoted = conversion.promoted
        warnings += [
            f"Node {node_id}: of each {{a|b}} in {name} the first choice was taken; the editor "
            "draws one each time."
            for node_id, name in conversion.drawn
        ]
    else:
        graph = _api_graph(source)
    _refuse_paid(graph, installed)
    graph, dropped = _without_idle(graph, definitions)
    if dropped:
        warnings.append(f"Left out {dropped} nodes whose results nothing uses.")
    used = {node.class_type for node in graph.nodes.values()}
    images = draft_images(graph, definitions)
    models = named_models(graph, definitions, document)
    packs = named_packs(sorted(used), definitions, document, installed.manager_map)
    return Addition(
        name=name or source.name,
        title=source.title,
        description=_description(source, document),
        graph=graph,
        images=tuple(images),
        files=tuple(draft_files(graph, definitions, {image.name for image in images})),
        parameters=tuple(draft_parameters(graph, definitions, promoted)),
        models=tuple(models),
        packs=tuple(packs),
        missing=tuple(_missing(used, installed, document)),
        saved_with=core_version(document),
        refused=tuple(_refused(graph, definitions)),
        other_media={
            f"{node_id} ({node.title})": _OTHER_MEDIA[node.class_type]
            for node_id, node in graph.nodes.items()
            if node.class_type in _OTHER_MEDIA
        },
        warnings=tuple(warnings),
    )


def with_models(addition: Addition, models: list[NamedModel]) -> Addition:
    """Return the addition with other models, such as those whose hosts told their sizes."""
    return replace(addition, models=tuple(models))


def _document(source: Source) -> EditorDocument:
    try:
        return parse_document(source.data)
    except WorkflowError as error:
        raise WorkflowFileError(error.message, **error.details) from error


def _api_graph(source: Source) -> Graph:
    try:
        return parse_graph(source.data)
    except WorkflowError as error:
        raise WorkflowFileError(error.message, **error.details) from error


def _refuse_paid(graph: Graph, installed: Installed) -> None:
    for node_id, node in graph.nodes.items():
        definition = installed.definitions.get(node.class_type)
        if node.class_type in installed.paid or (definition is not None and definition.is_paid):
            raise PaidServiceError(
                f"Node {node_id} ({node.title}) is of the class {node.class_type}, which calls a "
                "paid service and needs an account at comfy.org. Mute or replace it in ComfyUI.",
                node_id=node_id,
                class_type=node.class_type,
            )


def _without_idle(graph: Graph, definitions: Mapping[str, NodeDefinition]) -> tuple[Graph, int]:
    """Keep the nodes that an output node needs."""
    fed = graph.linked_ids()
    waiting = [
        node_id
        for node_id, node in graph.nodes.items()
        if _is_output(node, definitions, feeds_others=node_id in fed)
    ]
    if not waiting:
        raise WorkflowFileError(
            "The workflow makes nothing: it has no node that saves or shows a result. Add one, "
            "such as Save Image."
        )
    needed: set[str] = set()
    while waiting:
        node_id = waiting.pop()
        if node_id not in needed:
            needed.add(node_id)
            waiting += [link.node_id for _, link in graph.nodes[node_id].links()]
    kept = {node_id: node for node_id, node in graph.nodes.items() if node_id in needed}
    return Graph(kept), len(graph.nodes) - len(kept)


def _refused(graph: Graph, definitions: Mapping[str, NodeDefinition]) -> Iterator[str]:
    for node_id, node in graph.nodes.items():
        definition = definitions.get(node.class_type)
        for name, value in node.inputs.items():
            declared = definition.input(name) if definition is not None else None
            if declared is None or as_link(value) is not None or not declared.choices:
                continue
            is_list = declared.options.get("multiselect") or declared.options.get("multi_select")
            is_file = any(declared.options.get(key) for key in (*FILE_LISTS, "model_folder"))
            if not is_list and not is_file and value not in declared.choices:
                yield (
                    f'node {node_id} ({node.title}) has {value!r} for "{name}", which its '
                    "installed class does not offer"
                )


def _is_output(
    node: Node, definitions: Mapping[str, NodeDefinition], *, feeds_others: bool
) -> bool:
    definition = definitions.get(node.class_type)
    return not feeds_others if definition is None else definition.is_output


def _missing(
    used: set[str], installed: Installed, document: EditorDocument | None
) -> list[MissingClass]:
    said: dict[str, Mapping[str, Any]] = {}
    if document is not None:
        said = {node.type: node.properties for node in document.nodes()}
    return [
        MissingClass(
            class_type,
            said.get(class_type, {}).get("cnr_id"),
            said.get(class_type, {}).get("ver"),
            installed.failures.get(class_type),
        )
        for class_type in sorted(used - installed.definitions.keys())
    ]


def _description(source: Source, document: EditorDocument | None) -> str:
    if source.description:
        return source.description
    info = document.extra.get("info") if document is not None else None
    if isinstance(info, dict) and info.get("description"):
        return str(info["description"])
    return f"{source.title}, as it was saved in ComfyUI."


def _license_note(models: tuple[NamedModel, ...]) -> str | None:
    pages = list(
        dict.fromkeys(
            model.url.partition("/resolve/")[0].removeprefix("https://")
            for model in models
            if model.url is not None and "/resolve/" in model.url
        )
    )
    if not pages:
        return None
    return (
        f"Models have licences of their own. Read them before you sell results: {', '.join(pages)}."
    )
