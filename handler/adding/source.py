"""Where a workflow comes from: a file, an address, a picture or a video, or a template's name."""

from __future__ import annotations

import importlib.util
import io
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handler.adding.errors import WorkflowFileError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TEMPLATE_PACKAGES = ("comfyui_workflow_templates_json", "comfyui_workflow_templates")
_MOST_BYTES = 256 * 2**20
_TIMEOUT = 30.0
# Tags of EXIF in which ComfyUI writes "prompt:{…}" and "workflow:{…}" into WebP files.
_EXIF_TAGS = (0x010E, 0x010F, 0x0110)


@dataclass(frozen=True)
class Source:
    """A workflow as it was found.

    Attributes:
        name: Name for the workflow: lower-case letters, digits, ``_`` and ``-``.
        title: The same for people.
        data: JSON data in the editor's format or in API format.
        description: What it does, where an official template says so.
    """

    name: str
    title: str
    data: Any
    description: str | None = None


def read_source(text: str) -> Source:
    """Read what ``text`` names: a path, an http(s) address, or an official template.

    Raises:
        WorkflowFileError: There is nothing there, or it holds no workflow.
    """
    if text.startswith(("http://", "https://")):
        remote = urllib.parse.unquote(urllib.parse.urlsplit(text).path)
        return _source(Path(remote).stem, _content(text, _downloaded(text)))
    path = Path(text)
    if path.is_file():
        return _source(path.stem, _content(text, _file_bytes(path)))
    template = _template(text)
    if template is not None:
        return _described(_source(text, _content(text, template)), text)
    raise WorkflowFileError(
        f'There is no file "{text}", and no official template has that name. Templates are read '
        "from the package comfyui-workflow-templates-json: pip install it to use them by name."
    )


def template_folder() -> Path | None:
    """Return the folder of the installed official templates, if there is one."""
    for package in _TEMPLATE_PACKAGES:
        spec = importlib.util.find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            if (Path(place) / "templates" / "index.json").is_file():
                return Path(place) / "templates"
    return None


def slug(text: str) -> str:
    """Return a text as a workflow's or a parameter's name."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def _source(stem: str, data: Any) -> Source:  # noqa: ANN401 - JSON
    name = slug(stem).replace("_", "-") or "workflow"
    words = re.sub(r"[_-]+", " ", stem).strip() or "Workflow"
    return Source(name, words[0].upper() + words[1:], data)


def _template(name: str) -> bytes | None:
    folder = template_folder()
    if folder is None or not re.fullmatch(r"[\w.-]+", name):
        return None
    path = folder / f"{name.removesuffix('.json')}.json"
    return _file_bytes(path) if path.is_file() else None


def _described(source: Source, name: str) -> Source:
    """Give a template the title and description that the official index has for it."""
    folder = template_folder()
    try:
        index = json.loads((folder / "index.json").read_bytes()) if folder else []
    except (OSError, ValueError):
        return source
    for group in index:
        for entry in group.get("templates", ()):
            if entry.get("name") == name.removesuffix(".json"):
                return replace(
                    source,
                    title=str(entry.get("title") or source.title),
                    description=str(entry.get("description") or "") or None,
                )
    return source


def _file_bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise WorkflowFileError(f"{path} is larger than {_MOST_BYTES // 2**20} MiB.")
        return path.read_bytes()
    except OSError as error:
        raise WorkflowFileError(f"{path} cannot be read: {error.strerror}.") from error


def _downloaded(url: str) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "serverless-comfyui"})  # noqa: S310 - http(s) only, see read_source
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:  # noqa: S310
            data: bytes = response.read(_MOST_BYTES + 1)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise WorkflowFileError(f"{url} cannot be fetched: {error}.") from error
    if len(data) > _MOST_BYTES:
        raise WorkflowFileError(f"{url} is larger than {_MOST_BYTES // 2**20} MiB.")
    return data


def _content(where: str, data: bytes) -> Any:  # noqa: ANN401 - JSON
    if data.lstrip()[:1] in {b"{", b"["}:
        return _workflow_in(where, data)
    texts = _texts_in_picture(data) or _texts_in_media(data)
    if texts is None:
        raise WorkflowFileError(
            f"{where} is neither JSON nor a picture, video or sound that ComfyUI saved."
        )
    for key in ("workflow", "prompt"):
        if texts.get(key):
            return _workflow_in(where, texts[key].encode())
    raise WorkflowFileError(
        f"{where} carries no workflow. ComfyUI writes it into the files that it saves, but sites "
        "and apps that shrink pictures take it out: use the original file, or save the workflow "
        "as JSON."
    )


def _workflow_in(where: str, data: bytes) -> Any:  # noqa: ANN401 - JSON
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise WorkflowFileError(f"{where} is not JSON: {error}.") from error
    if isinstance(found, dict):
        for key in ("workflow", "prompt"):  # what RunPod's worker and /history hold around it
            inner = found.get(key)
            if isinstance(inner, dict) and "nodes" not in found:
                found = inner
        if isinstance(found.get("input"), dict) and isinstance(
            found["input"].get("workflow"), dict
        ):
            found = found["input"]["workflow"]
    if not isinstance(found, dict) or not found:
        raise WorkflowFileError(
            f"{where} is JSON, but no workflow of ComfyUI's: neither the editor's format nor the "
            "API format."
        )
    return found


def _texts_in_picture(data: bytes) -> Mapping[str, str] | None:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as image:
            texts = {str(key): value for key, value in image.info.items() if isinstance(value, str)}
            texts |= getattr(image, "text", {})
            exif = image.getexif()
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return None
    for tag in _EXIF_TAGS:
        key, _, value = str(exif.get(tag, "")).partition(":")
        if value:
            texts.setdefault(key.lower(), value)
    return {key.lower(): value for key, value in texts.items()} or {"picture": ""}


def _texts_in_media(data: bytes) -> Mapping[str, str] | None:
    try:
        import av
    except ImportError:
        return None
    try:
        with av.open(io.BytesIO(data)) as container:
            return {"media": ""} | dict(_lowered(container.metadata))
    except (av.error.FFmpegError, ValueError, OSError):
        return None


def _lowered(metadata: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for key, value in metadata.items():
        yield key.lower(), value
        if key.lower() == "comment" and value.lstrip().startswith("{"):
            # VideoHelperSuite keeps both in one comment.
            try:
                inner = json.loads(value)
            except ValueError:
                continue
            for name in ("workflow", "prompt"):
                if name in inner:
                    found = inner[name]
                    yield name, found if isinstance(found, str) else json.dumps(found)
