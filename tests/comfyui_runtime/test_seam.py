"""Only the seam names what belongs to ComfyUI."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import PROJECT

SEAM = PROJECT / "comfyui_runtime" / "in_process" / "comfy"
# What the executor and a server send alike is read in one place for both runtimes.
MESSAGES = PROJECT / "comfyui_runtime" / "run" / "messages.py"
PRODUCT = sorted(
    path
    for package in ("comfyui_runtime", "handler")
    for path in (PROJECT / package).rglob("*.py")
    if not path.is_relative_to(SEAM)
)
IMPORTING_CALLS = {"import_module", "__import__", "find_spec"}
# Options that this project's own commands have as well.
SHARED_OPTIONS = {"--cpu", "--port", "--verbose"}


@pytest.fixture(scope="session")
def modules(comfyui_dir) -> frozenset[str]:
    """ComfyUI's top-level modules and packages."""
    packages = {file.parent.name for file in comfyui_dir.glob("*/*.py")}
    names = {file.stem for file in comfyui_dir.glob("*.py")} | packages
    assert {"nodes", "execution", "server", "folder_paths", "comfy"} <= names
    return frozenset(name for name in names if name.isidentifier())


@pytest.fixture(scope="session")
def options(comfyui_dir) -> frozenset[str]:
    text = (comfyui_dir / "comfy" / "cli_args.py").read_text()
    found = set(re.findall(r'"(--[a-z0-9-]+)"', text))
    assert {"--cache-lru", "--lowvram", "--cpu"} <= found
    return frozenset(found - SHARED_OPTIONS)


@pytest.fixture(scope="session")
def messages(comfyui_dir) -> frozenset[str]:
    """Names of ComfyUI's messages and errors that no other word could be meant by."""
    text = (comfyui_dir / "execution.py").read_text()
    found = set(re.findall(r'"(execution_\w+|value_not_in_list)"', text))
    assert {"execution_start", "execution_error", "value_not_in_list"} <= found
    return frozenset(found | {"executing", "InterruptProcessingException", "progress_state"})


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str() as name, level=0):
                yield name
            case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called), args=[first, *_]):
                if called in IMPORTING_CALLS and isinstance(first, ast.Constant):
                    yield str(first.value)


def strings(tree: ast.AST) -> set[str]:
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: str(path.relative_to(PROJECT)))
def test_nothing_of_comfyui_is_named_outside_the_seam(path: Path, modules, options, messages):
    tree = ast.parse(path.read_text("utf-8"))
    by_import = {name for name in imported(tree) if name.partition(".")[0] in modules}
    # A plain word such as "server" may mean anything; these may not.
    telling = {name for name in modules if "_" in name} - {"custom_nodes"}
    by_string = {
        text
        for text in strings(tree)
        if text in telling or re.fullmatch(r"comfy(_\w+)?(\.\w+)+|comfy", text)
    }
    named = by_import | by_string | (strings(tree) & options)
    if path != MESSAGES:
        named |= strings(tree) & messages
    assert not named
