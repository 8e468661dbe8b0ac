"""``schema``: the JSON Schema of events and responses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("schema", help="print the JSON Schema of events or responses")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--workflow", help="narrow params and images to those of this workflow")
    kind.add_argument("--response", action="store_true", help="print the responses' schema")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Print the schema."""
    from comfyui_runtime.workflow.manifest import load_workflow
    from handler.contract.schema import event_schema, response_schema, workflow_event_schema
    from handler.settings import load_settings

    if args.response:
        schema = response_schema()
    elif args.workflow:
        workflow = load_workflow(load_settings().workflows_dir, args.workflow)
        schema = workflow_event_schema(workflow)
    else:
        schema = event_schema()
    print(json.dumps(schema, indent=2, ensure_ascii=False))
    return 0
