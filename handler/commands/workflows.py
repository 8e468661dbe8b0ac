"""``workflows``: what is installed, and each workflow's parameters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from comfyui_runtime.workflow.manifest import Workflow
    from comfyui_runtime.workflow.parameters import Parameter


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("workflows", help="list workflows and their parameters")
    parser.add_argument("name", nargs="?", help="only this workflow")
    parser.add_argument("--json", action="store_true", help="print the manifests as JSON")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Print the list."""
    from comfyui_runtime.workflow.manifest import load_workflow, workflow_names
    from handler.settings import load_settings

    folder = load_settings().workflows_dir
    names = [args.name] if args.name else workflow_names(folder)
    loaded = [load_workflow(folder, name) for name in names]
    if args.json:
        manifests = {w.name: w.manifest.model_dump(mode="json") for w in loaded}
        print(json.dumps(manifests, indent=2, ensure_ascii=False))
    else:
        print("\n\n".join("\n".join(_lines(workflow)) for workflow in loaded))
    return 0


def _lines(workflow: Workflow) -> Iterator[str]:
    manifest = workflow.manifest
    yield f"{workflow.name} ({manifest.version}): {manifest.title}"
    yield f"  {manifest.description}"
    if manifest.license_note:
        yield f"  {manifest.license_note}"
    for name, image in manifest.images.items():
        optional = "" if image.required else ", optional"
        yield f"  image  {name}{optional}: {image.description}"
    for name, file in manifest.files.items():
        optional = "" if file.required else ", optional"
        yield f"  file   {name} ({file.media}{optional}): {file.description}"
    for name, parameter in manifest.parameters.items():
        yield f"  param  {name} ({_allowed(parameter)}): {parameter.description}"
    for model in manifest.models:
        yield f"  model  {model.folder}/{model.file}{', optional' if model.optional else ''}"


def _allowed(parameter: Parameter) -> str:
    from handler.contract.schema import parameter_schema

    schema = parameter_schema(parameter)
    default = json.dumps(schema["default"], ensure_ascii=False) if "default" in schema else "drawn"
    match schema:
        case {"minimum": low, "maximum": high}:
            allowed = f"{schema['type']} {low} to {high}"
        case {"enum": choices}:
            allowed = " | ".join(choices)
        case _:
            allowed = schema["type"]
    return f"{allowed}, default {default}"
