"""``settings``: every environment variable that is read, with its default and meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from pydantic.fields import FieldInfo


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "settings", help="list the environment variables, as a table in Markdown"
    )
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Print the table."""
    del args
    from handler.settings import Settings

    print("| variable | default | meaning |")
    print("| --- | --- | --- |")
    for field in Settings.model_fields.values():
        print(f"| {_names(field)} | {_default(field)} | {field.description} |")
    return 0


def _names(field: FieldInfo) -> str:
    from pydantic import AliasChoices

    alias = field.validation_alias
    names = alias.choices if isinstance(alias, AliasChoices) else [alias]
    return " or ".join(f"`{name}`" for name in names)


def _default(field: FieldInfo) -> str:
    from handler.settings import PROJECT_DIR

    match field.default:
        case None | "" | () | frozenset():
            return ""
        case tuple() as paths:
            return f"`{','.join(str(path) for path in paths)}`"
        case value:
            return f"`{str(value).removeprefix(f'{PROJECT_DIR}/')}`"
