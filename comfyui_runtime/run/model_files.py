"""Where model files are looked for, and whether they are what their names say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from comfyui_runtime.errors import MissingModelError, ModelError

if TYPE_CHECKING:
    from pathlib import Path

    from comfyui_runtime.workflow.manifest import Model

# How the safetensors library words its refusals (0.8); any other is about the header's content.
_WRONG_SIZE = "incomplete metadata"
_NO_HEADER = ("header too small", "header too large", "invalid header length")
# Kinds that ComfyUI looks for in two folders each; the newer name comes first.
_SAME_FOLDERS = (("text_encoders", "clip"), ("diffusion_models", "unet"))


def same_folders(folder: str) -> tuple[str, ...]:
    """Return the folders in which ComfyUI looks for what belongs into one of them."""
    for names in _SAME_FOLDERS:
        if folder in names:
            return names
    return (folder,)


@dataclass(frozen=True)
class ModelFolders:
    """Where models are looked for.

    Attributes:
        root: The ``models`` folder, with one folder per kind.
        more: Further folders with the same layout, such as one on a mounted volume.
    """

    root: Path
    more: tuple[Path, ...] = ()

    def find(self, model: Model) -> Path | None:
        """Return the file, or ``None`` where no folder has it."""
        for folder in (self.root, *self.more):
            for same in same_folders(model.folder):
                path = folder / same / model.file
                if path.is_file():
                    return path
        return None


def check_model_file(folders: ModelFolders, model: Model) -> None:
    """Check that a model's file exists, is complete, and has the right architecture.

    Raises:
        MissingModelError: No folder has it.
        ModelError: It is truncated, not what its name says, or of another architecture.
    """
    path = folders.find(model)
    if path is None:
        searched = ", ".join(str(folder / model.folder) for folder in (folders.root, *folders.more))
        raise MissingModelError(
            f"The model {model.folder}/{model.file} is in none of {searched}. Run ./provision.sh "
            "with the workflow's profile, mount the volume that has it, or have it fetched with "
            "FETCH_MODELS=start.",
            file=model.file,
        )
    check_content(path, model)


def check_content(path: Path, model: Model) -> None:
    """Check a file's content by its header alone.

    Raises:
        ModelError: It is truncated, not what its name says, or of another architecture.
    """
    if path.suffix == ".safetensors":
        shapes = check_safetensors(path)
        for name, shape in model.tensors.items():
            if shapes.get(name) != shape:
                found = f"it is {shapes[name]}" if name in shapes else "there is none"
                raise ModelError(
                    f"The model file {path} is of another architecture than the workflow is made "
                    f"for: its tensor {name} should be {shape}, but {found}. Put the file there "
                    "that the workflow names.",
                    file=path.name,
                    tensor=name,
                )
    elif path.stat().st_size == 0:
        raise _unusable(path, "it is empty")


def check_safetensors(path: Path) -> dict[str, tuple[int, ...]]:
    """Check a safetensors file by its header, and return each tensor's shape by its name.

    The library reads the header only and accepts what ComfyUI's loaders accept.

    Raises:
        ModelError: The file is truncated or is not a safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with path.open("rb") as file:
            prefix = file.read(8)
        with safe_open(path, framework="numpy") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118 - not a mapping
    except OSError as error:
        raise _unusable(path, f"it cannot be read ({error.strerror or error})") from error
    except SafetensorError as error:
        raise _unusable(path, _reason(str(error), path, prefix)) from error


def _reason(refusal: str, path: Path, prefix: bytes) -> str:
    """Return what the library's refusal means to the person who installed the file."""
    if _WRONG_SIZE in refusal:
        return (
            f"it has {path.stat().st_size} bytes where its header says otherwise: it was cut "
            "short, or something was appended to it"
        )
    if any(text in refusal for text in _NO_HEADER):
        return f"it is not a safetensors file ({_first_words(prefix)})"
    return f"its header cannot be read ({refusal.removeprefix('Error while deserializing ')})"


def _first_words(prefix: bytes) -> str:
    # A download that failed often leaves an error page under the model's name.
    return f"it starts with {prefix!r}" if prefix.isascii() else "its first bytes make no header"


def _unusable(path: Path, why: str) -> ModelError:
    return ModelError(
        f"The model file {path} cannot be used: {why}. Delete it and fetch it again "
        "(./provision.sh).",
        file=path.name,
    )
