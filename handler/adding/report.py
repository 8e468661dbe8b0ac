"""What ``add`` reports: what was made, how to call it, and what is missing."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from handler.adding.analysis import Addition
    from handler.adding.models import NamedModel

_GIB = 2**30
_SHOWN_TEXT = 60


def report_lines(addition: Addition, silent_hosts: list[str]) -> Iterator[str]:
    """Yield the lines."""
    yield f"{addition.name}: {addition.title}"
    for image in addition.images:
        yield f"  image  {image.name}: {image.description}"
    for file in addition.files:
        yield f"  file   {file.name} ({file.media}): {file.description}"
    for parameter in addition.parameters:
        yield f"  param  {parameter.name} ({_allowed(parameter.fields)}): {parameter.description}"
    yield from _models(addition, silent_hosts)
    yield from _packs(addition)
    yield from _missing(addition)
    yield from (f"  lacks  {sentence}" for sentence in addition.refused)
    for node, kind in addition.other_media.items():
        yield (
            f"  lacks  node {node} loads a {kind}, which a manifest cannot declare: it has to be "
            "in ComfyUI's input folder"
        )
    for warning in addition.warnings:
        yield f"  note   {warning}"
    yield ""
    yield "Event:"
    yield json.dumps(example_event(addition), ensure_ascii=False)
    yield "Try it:"
    yield command(addition)


def example_event(addition: Addition) -> dict[str, Any]:
    """Return an event that calls the workflow."""
    job: dict[str, Any] = {"workflow": addition.name}
    if len(addition.images) == 1 and addition.images[0].name == "image":
        job["image"] = "https://example.com/image.jpg"
    elif addition.images:
        job["images"] = {
            image.name: f"https://example.com/{image.name}.jpg" for image in addition.images
        }
    if addition.files:
        job["files"] = {
            file.name: f"https://example.com/{file.name}.{file.extension}"
            for file in addition.files
        }
    values = {one.name: one.fields["default"] for one in addition.parameters if _is_shown(one)}
    if values:
        job["params"] = values
    return {"input": job}


def command(addition: Addition) -> str:
    """Return the command line that runs the workflow with its defaults."""
    words = [".venv/bin/python", "-m", "handler", "run", "--workflow", addition.name]
    for image in addition.images:
        single = len(addition.images) == 1 and image.name == "image"
        words += ["--image", f"{image.name}.jpg" if single else f"{image.name}={image.name}.jpg"]
    for file in addition.files:
        words += ["--file", f"{file.name}={file.name}.{file.extension}"]
    return shlex.join(words)


def _is_shown(parameter: Any) -> bool:  # noqa: ANN401 - a draft
    return parameter.name in {"prompt", "steps", "width", "height"}


def _allowed(fields: Any) -> str:  # noqa: ANN401 - a draft's fields
    default = fields.get("default")
    match fields["type"]:
        case "seed":
            return "seed, drawn"
        case "integer" | "number":
            return f"{fields['type']} {fields['minimum']} to {fields['maximum']}, {default}"
        case "choice":
            return f"one of {len(fields['choices'])}, {default}"
        case _:
            text = json.dumps(default, ensure_ascii=False)
            short = text if len(text) <= _SHOWN_TEXT else text[:_SHOWN_TEXT] + '…"'
            return f"{fields['type']}, {short}"


def _models(addition: Addition, silent_hosts: list[str]) -> Iterator[str]:
    for model in addition.models:
        size = "" if model.size is None else f", {model.size / _GIB:.2f} GiB"
        if model.url is None or model.folder is None:
            yield f"  lacks  model {_path(model)}: {_why(model)}"
        else:
            yield f"  model  {_path(model)}{size}: {model.url}"
    known = [model.size for model in addition.models if model.size is not None]
    if known:
        unknown = len(addition.models) - len(known)
        more = f", and {unknown} of unknown size" if unknown else ""
        yield f"  disk   {sum(known) / _GIB:.2f} GiB for models{more}"
    for host in silent_hosts:
        yield f"  note   {host} was not reached: sizes and checksums of its models are unknown"


def _why(model: NamedModel) -> str:
    if model.url is None:
        return "the workflow does not say where to fetch it"
    return f"neither the workflow nor its node's class says which folder {model.url} belongs in"


def _path(model: NamedModel) -> str:
    return f"{model.folder or '?'}/{model.file}"


def _packs(addition: Addition) -> Iterator[str]:
    for pack in addition.packs:
        of = f"pack {pack.name}"
        if pack.repository and pack.commit:
            yield f"  pack   {pack.repository} at {pack.commit}: {', '.join(pack.classes)}"
            continue
        what = "a commit to pin" if pack.repository else "the address of its repository"
        version = f" (version {pack.version})" if pack.version else ""
        yield (
            f"  lacks  {of}{version}, for {', '.join(pack.classes)}: the workflow does not say "
            f"{what}; add a line to node_packs.txt"
        )


def _missing(addition: Addition) -> Iterator[str]:
    for one in addition.missing:
        if one.failure:
            where = f"its file is installed, but does not import: {one.failure}"
        elif one.pack == "comfy-core":
            where = "ComfyUI's own, of a newer release than the installed one"
            if addition.saved_with:
                where += f" (the file was saved with {addition.saved_with})"
        elif one.pack:
            where = f"of the pack {one.pack}"
        else:
            where = "the workflow does not say of which pack"
        yield f"  lacks  class {one.class_type}: {where}"
