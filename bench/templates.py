"""``python -m bench.templates``: the official templates that need no paid service, through ``add``.

It counts how many convert, how many ComfyUI's own validation takes (with stub files in place of
models and media), and for how many every model's address is known, and says why the rest do not.
The templates are those of the package ``comfyui-workflow-templates-json``; COMFYUI_DIR names the
ComfyUI that validates them.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from comfyui_runtime.errors import MissingNodeClassError, ServiceError
from comfyui_runtime.in_process import comfy
from comfyui_runtime.in_process.boot import boot
from comfyui_runtime.in_process.options import BootOptions
from comfyui_runtime.in_process.validate import validate_graph
from comfyui_runtime.workflow.editor import convert, parse_definitions, parse_document
from comfyui_runtime.workflow.graph import as_link, parse_graph
from handler.adding.analysis import Addition, analyse
from handler.adding.errors import PaidServiceError
from handler.adding.folder import workflow_files
from handler.adding.installed import Installed
from handler.adding.source import read_source, template_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from comfyui_runtime.workflow.editor import NodeDefinition
    from comfyui_runtime.workflow.graph import Graph

_NOT_OPEN = ("api_", "index", "fuse_options")
_UPLOADS = ("image_upload", "video_upload", "animated_image_upload", "audio_upload")
_PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108020000009077"
    "53de0000000c4944415408d763f8cfc000000301010018dd8db00000000049454e44ae426082"
)


@dataclass(frozen=True)
class Outcome:
    """What became of one template.

    Attributes:
        converted: Whether a graph in API format came out.
        installed: Whether every class that it runs is installed and free.
        added: Whether ``add`` made a workflow of it that loads.
        validated: Whether ComfyUI's validation took it.
        addressed: Whether every model that it names has an address and a folder.
        reason: Why it went no further; ``None`` where nothing is lacking.
    """

    name: str
    converted: bool = False
    installed: bool = False
    added: bool = False
    validated: bool = False
    addressed: bool = False
    reason: str | None = None


def open_templates() -> list[str]:
    """Return the names of the official templates that need no paid service, sorted.

    Raises:
        FileNotFoundError: The package with the templates is not installed.
    """
    folder = template_folder()
    if folder is None:
        raise FileNotFoundError("pip install comfyui-workflow-templates-json")
    return sorted(
        path.stem for path in folder.glob("*.json") if not path.name.startswith(_NOT_OPEN)
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Print the counts and the reasons."""
    parser = argparse.ArgumentParser(prog="python -m bench.templates", description=__doc__)
    parser.add_argument("names", nargs="*", help="templates (else all open ones)")
    parser.add_argument("--json", type=Path, help="write each template's outcome here")
    args = parser.parse_args(argv)
    comfyui_dir = Path(os.environ.get("COMFYUI_DIR", ".comfyui/src/ComfyUI")).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        options = BootOptions(comfyui_dir, Path(scratch), device="cpu", lazy=False)
        _, report = boot(options)
        installed = Installed(
            parse_definitions(comfy.node_definitions()), comfy.paid_class_names(comfyui_dir)
        )
        outcomes = [
            _outcome(name, installed, Path(scratch)) for name in args.names or open_templates()
        ]
    print(_summary(outcomes, report.comfyui_version))
    if args.json:
        args.json.write_text(json.dumps([asdict(one) for one in outcomes], indent=1) + "\n")
    return 0


def _outcome(name: str, installed: Installed, base_dir: Path) -> Outcome:
    source = read_source(name)
    outcome = Outcome(name)
    try:
        parse_graph(convert(parse_document(source.data), installed.definitions).graph)
        outcome = replace(outcome, converted=True)
        addition = analyse(source, installed)
        workflow_files(base_dir / "workflows", addition)
        outcome = replace(
            outcome,
            installed=not addition.missing,
            added=True,
            addressed=not addition.unresolved_models,
        )
        _put_stubs(addition, installed.definitions)
        validate_graph(addition.graph, name, {})
    except PaidServiceError as error:
        return replace(outcome, reason=f"paid: {error.details['class_type']}")
    except MissingNodeClassError as error:
        return replace(outcome, reason=f"missing class: {error.details['class_type']}")
    except ServiceError as error:
        return replace(outcome, reason=f"{error.code}: {error.message}")
    unresolved = ", ".join(one.file for one in addition.unresolved_models)
    return replace(
        outcome, validated=True, reason=f"no address: {unresolved}" if unresolved else None
    )


def _put_stubs(addition: Addition, definitions: Mapping[str, NodeDefinition]) -> None:
    for model in addition.models:
        if model.folder in comfy.model_folder_kinds():
            _touch(Path(comfy.folder_roots(model.folder)[0]) / model.file.replace("\\", "/"))
    for file in _media(addition.graph, definitions):
        _touch(comfy.input_folder() / file)


def _media(graph: Graph, definitions: Mapping[str, NodeDefinition]) -> set[str]:
    files = set()
    for node in graph.nodes.values():
        definition = definitions.get(node.class_type)
        for name, value in node.inputs.items():
            declared = definition.input(name) if definition else None
            if (
                declared is not None
                and isinstance(value, str)
                and value.strip()
                and as_link(value) is None
                and any(declared.options.get(key) for key in _UPLOADS)
            ):
                files.add(value)
    return files


def _touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_PIXEL)


def _summary(outcomes: Sequence[Outcome], version: str) -> str:
    def row(title: str, count: int, of: int) -> str:
        share = f"{100 * count / of:.1f} %" if of else "-"
        return f"| {title} | {count} of {of} | {share} |"

    added = [one for one in outcomes if one.added]
    installed = [one for one in added if one.installed]
    paid = sum((one.reason or "").startswith("paid") for one in outcomes)
    lines = [
        f"Official templates on ComfyUI {version}",
        "",
        "| | templates | |",
        "| --- | --- | --- |",
        row("converted", sum(one.converted for one in outcomes), len(outcomes)),
        row("need a paid service all the same", paid, len(outcomes)),
        row("made into a workflow, of the others", len(added), len(outcomes) - paid),
        row("with every class installed, of those", len(installed), len(added)),
        row("validated, of those", sum(one.validated for one in installed), len(installed)),
        row("with every model's address", sum(one.addressed for one in added), len(added)),
        "",
        "Reasons:",
    ]
    reasons = sorted((one.reason, one.name) for one in outcomes if one.reason)
    lines += [f"- {name}: {reason}" for reason, name in reasons]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
