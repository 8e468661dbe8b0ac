"""What the editor writes into texts when it hands a graph over."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_COMMENTS = re.compile(r"/\*[\s\S]*?\*/|//.*")
_ESCAPED = re.compile(r"\\([{}|])")
_PATTERN = re.compile(r"%([^%]+)%")
_NOT_IN_FILE_NAMES = re.compile(r'[/?<>\\:*|"\x00-\x1F\x7F]')
# What ComfyUI itself fills in when the file is written, for each part of the editor's dates.
_DATES = {
    "yyyy": "%year%",
    "MM": "%month%",
    "dd": "%day%",
    "hh": "%hour%",
    "mm": "%minute%",
    "ss": "%second%",
}
_DATE_PARTS = re.compile("|".join(_DATES))


def first_choices(text: str) -> str:
    """Take out comments and, of each ``{a|b}``, all but the first choice.

    The editor draws a choice each time; a graph that is stored needs one that stays.
    """
    without_comments = _COMMENTS.sub("", text)
    return _ESCAPED.sub(r"\1", _resolved(without_comments))


def has_choices(text: str) -> bool:
    """Say whether the editor would draw among choices in a text."""
    return re.search(r"(?<!\\)\{", text) is not None


def fill_in(text: str, value_of: Callable[[str, str], str | None]) -> str:
    """Fill in ``%Node.widget%`` and have ComfyUI fill in ``%date:…%`` when the file is written.

    Args:
        value_of: Returns the value of a node's widget, by the node's name and the widget's.
    """

    def replaced(match: re.Match[str]) -> str:
        inner = match[1]
        if inner.startswith("date:"):
            return _DATE_PARTS.sub(lambda part: _DATES[part[0]], inner.removeprefix("date:"))
        node, dot, widget = inner.partition(".")
        value = value_of(node, widget) if dot and "." not in widget else None
        return match[0] if value is None else _NOT_IN_FILE_NAMES.sub("_", value)

    return _PATTERN.sub(replaced, text)


def _resolved(text: str) -> str:
    parts: list[str] = []
    position = 0
    while position < len(text):
        character = text[position]
        if character == "\\":
            parts.append(text[position : position + 2])
            position += 2
        elif character == "{":
            choice, position = _first_choice(text, position + 1)
            parts.append(_resolved(choice))
        else:
            parts.append(character)
            position += 1
    return "".join(parts)


def _first_choice(text: str, start: int) -> tuple[str, int]:
    depth = 0
    end_of_first = None
    position = start
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 2
            continue
        if character == "{":
            depth += 1
        elif character == "}":
            if depth == 0:
                break
            depth -= 1
        elif character == "|" and depth == 0 and end_of_first is None:
            end_of_first = position
        position += 1
    end = position if end_of_first is None else end_of_first
    return text[start:end], position + 1
