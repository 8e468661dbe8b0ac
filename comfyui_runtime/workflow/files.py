"""Files on their way into a graph, and the node classes that load them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from pathlib import Path

Media = Literal["video", "audio", "file"]

_EXTENSION = re.compile(r"[a-z0-9]{1,12}")
_MODELS = frozenset({"glb", "gltf", "obj", "fbx", "stl", "ply", "usdz", "splat", "ksplat", "spz"})
_LONGEST_ADDRESS = 4096


@dataclass(frozen=True)
class InputFile:
    """A caller's file on this machine, found to be what it is said to be.

    Attributes:
        path: Where it is; it stays there until the job has ended.
        digest: SHA-256 of its bytes, in hex: equal ones mean equal files.
        extension: Lower case, without the dot; of video and audio as the content has it.
    """

    path: Path
    digest: str
    extension: str

    @property
    def name(self) -> str:
        """Name for it that only equal files share, so that ComfyUI's cache knows it again."""
        return f"{self.digest}.{self.extension}"


@dataclass(frozen=True)
class FileLoader:
    """How a node class takes a file.

    Attributes:
        input: Name of the input that names the file.
        folder: Folder below ComfyUI's input folder where it looks, with a slash at the end.
        by_path: Whether it takes a path of the machine in place of a name in the input folder.
    """

    media: Media
    input: str
    folder: str = ""
    by_path: bool = False


FILE_LOADERS = {
    "LoadVideo": FileLoader("video", "file"),
    "LoadAudio": FileLoader("audio", "audio"),
    "RecordAudio": FileLoader("audio", "audio"),
    "Load3D": FileLoader("file", "model_file", "3d/"),
    "Load3DAnimation": FileLoader("file", "model_file", "3d/"),
    "VHS_LoadVideo": FileLoader("video", "video"),
    "VHS_LoadVideoFFmpeg": FileLoader("video", "video"),
    "VHS_LoadVideoPath": FileLoader("video", "video", by_path=True),
    "VHS_LoadVideoFFmpegPath": FileLoader("video", "video", by_path=True),
    "VHS_LoadAudioUpload": FileLoader("audio", "audio"),
    "VHS_LoadAudio": FileLoader("audio", "audio_file", by_path=True),
}
"""ComfyUI's own loaders and those of VideoHelperSuite, by class."""


@dataclass(frozen=True)
class FileUse:
    """A file, and how its node takes it."""

    file: InputFile
    loader: FileLoader

    @property
    def place(self) -> str:
        """Path below ComfyUI's input folder."""
        return f"{self.loader.folder}{self.file.name}"


def extension_of(text: object, *, like: str = "bin") -> str:
    """Return the extension of the file that a name or an address names.

    Args:
        like: Returned where there is none, and where the extension is of another kind of file: a
            3D model's may stand for another 3D model's, and no other for any.
    """
    if not isinstance(text, str) or len(text) > _LONGEST_ADDRESS:
        return like
    try:
        path = urlsplit(text).path
    except ValueError:
        return like
    extension = PurePosixPath(path).suffix.removeprefix(".").lower()
    if not _EXTENSION.fullmatch(extension):
        return like
    return extension if like == "bin" or {extension, like} <= _MODELS else like
