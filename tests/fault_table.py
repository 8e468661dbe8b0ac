"""The table of faults in docs/reliability.md, made of the tests that are marked with its rows."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from places import PROJECT, TESTS

PAGE = PROJECT / "docs" / "reliability.md"
_HEAD = "| fault | what happens | test |\n| --- | --- | --- |\n"
_TABLE = re.compile(re.escape(_HEAD) + r"(?:\|.*\n)*")


@dataclass(frozen=True)
class Fault:
    """A row.

    Attributes:
        answer: What happens.
        test: The function's name.
        file: Relative to the project.
    """

    fault: str
    answer: str
    test: str
    file: str


def marked_faults() -> list[Fault]:
    """Return what the tests are marked with, in the order of files and lines."""
    return [
        fault
        for path in sorted(TESTS.rglob("test_*.py"))
        for fault in _faults_in(path.read_text(), str(path.relative_to(PROJECT)))
    ]


def table(faults: list[Fault]) -> str:
    rows = (f"| {row.fault} | {row.answer} | [`{row.test}`](../{row.file}) |\n" for row in faults)
    return _HEAD + "".join(rows)


def table_on_page() -> str:
    return _TABLE.search(PAGE.read_text())[0]


def write(faults: list[Fault]) -> None:
    text = PAGE.read_text()
    PAGE.write_text(_TABLE.sub(lambda _: table(faults), text))


def _faults_in(source: str, file: str) -> Iterator[Fault]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            for decorator in node.decorator_list:
                match decorator:
                    case ast.Call(func=ast.Attribute(attr="fault"), args=[fault, answer]):
                        texts = ast.literal_eval(fault), ast.literal_eval(answer)
                        yield Fault(*texts, node.name, file)
