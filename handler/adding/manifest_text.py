"""A manifest as text that a person can continue to edit."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from handler.adding.models import NamedModel
    from handler.adding.parameters import DraftFile, DraftImage, DraftParameter

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_LINE = 100


def manifest_text(  # noqa: PLR0913 - a manifest's parts
    *,
    title: str,
    description: str,
    license_note: str | None,
    images: Iterable[DraftImage],
    files: Iterable[DraftFile],
    parameters: Iterable[DraftParameter],
    models: Iterable[NamedModel],
    node_packs: Mapping[str, str],
) -> str:
    """Return ``manifest.toml``."""
    head = [f"title = {_value(title)}", f"description = {_value(description)}", 'version = "1"']
    if license_note:
        head.append(f"license_note = {_value(license_note)}")
    blocks = ["\n".join(head)]
    blocks += ["\n".join(_image(image)) for image in images]
    blocks += ["\n".join(_file(one)) for one in files]
    blocks += ["\n".join(_parameter(one)) for one in parameters]
    blocks += [
        f"[[models]]\nfolder = {_value(model.folder)}\nfile = {_value(model.file)}"
        for model in models
        if model.folder is not None
    ]
    if node_packs:
        lines = [f"{_value(name)} = {_value(pack)}" for name, pack in node_packs.items()]
        blocks.append("\n".join(["[node_packs]", *lines]))
    return "\n\n".join(blocks) + "\n"


def _image(image: DraftImage) -> Iterator[str]:
    yield f"[images.{_key(image.name)}]"
    yield f"node = {_value(image.node_id)}"
    yield f"description = {_value(image.description)}"


def _file(file: DraftFile) -> Iterator[str]:
    yield f"[files.{_key(file.name)}]"
    yield f"node = {_value(file.node_id)}"
    yield f"media = {_value(file.media)}"
    if file.input is not None:
        yield f"input = {_value(file.input)}"
    yield f"description = {_value(file.description)}"


def _parameter(parameter: DraftParameter) -> Iterator[str]:
    yield f"[parameters.{_key(parameter.name)}]"
    yield f"type = {_value(parameter.fields['type'])}"
    yield f"description = {_value(parameter.description)}"
    for name, value in parameter.fields.items():
        if name != "type":
            yield f"{name} = {_value(value)}"
    yield f"patches = {_value(list(parameter.patches))}"


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _string(name)


def _value(value: Any) -> str:  # noqa: ANN401 - what TOML holds
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return _list(value)
    return _text(str(value))


def _list(values: list[Any]) -> str:
    items = [_value(one) for one in values]
    line = f"[{', '.join(items)}]"
    if len(line) <= _LINE - len("patches = "):
        return line
    return "[\n" + "".join(f"    {item},\n" for item in items) + "]"


def _text(text: str) -> str:
    if "\n" not in text or "\r" in text:
        return _string(text)
    inner = "\n".join(_string(line)[1:-1] for line in text.split("\n"))
    return f'"""\n{inner}"""'


def _string(text: str) -> str:
    # JSON's escapes are TOML's, but that TOML takes no DEL and no lone surrogate as it is.
    quoted = json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
    return quoted.encode("utf-8", "replace").decode()
