"""A manifest that was written again, with what a person changed in the meantime kept."""

from __future__ import annotations

import re

_HEADER = re.compile(r"^\[.*\]\s*(#.*)?$")
_HEAD = ""


def merged(old: str, current: str, new: str) -> str:
    """Return the new text, with the tables kept that differ from what was written before.

    Args:
        old: What was written before.
        current: What a person made of it.
        new: What would be written now.
    """
    if current == old:
        return new
    before, now, after = _tables(old), _tables(current), _tables(new)
    kept = {
        name: (after.get(name) if text == before.get(name) else text) for name, text in now.items()
    }
    added = {name: text for name, text in after.items() if name not in before and name not in now}
    texts = [text for text in [*kept.values(), *added.values()] if text]
    return "\n\n".join(text.strip("\n") for text in texts) + "\n"


def _tables(text: str) -> dict[str, str]:
    """Split a text at its table headers; comments right above one belong to it."""
    tables: dict[str, list[str]] = {_HEAD: []}
    current = tables[_HEAD]
    in_text = False
    for line in text.splitlines():
        if not in_text and _HEADER.match(line) and not line.startswith((" ", "\t")):
            above = _comments_at_end(current)
            name, number = line.strip(), 1
            while name in tables:
                number += 1
                name = f"{line.strip()} {number}"
            tables[name] = current = [*above, line]
        else:
            current.append(line)
        if line.count('"""') % 2:
            in_text = not in_text
    return {name: "\n".join(lines).strip("\n") for name, lines in tables.items()}


def _comments_at_end(lines: list[str]) -> list[str]:
    start = len(lines)
    while start and lines[start - 1].startswith("#"):
        start -= 1
    taken = lines[start:]
    del lines[start:]
    return taken
