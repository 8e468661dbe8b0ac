"""Model files: where they are looked for, and whether they can be what their names say."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from comfyui_runtime.errors import MissingModelError, ModelError

if TYPE_CHECKING:
    from pathlib import Path

    from comfyui_runtime.workflow.manifest import Model

# A header larger than this is refused by the format's own reader (github.com/huggingface/
# safetensors, "Format"): 100 MB.
_MAX_HEADER = 100_000_000


@dataclass(frozen=True)
class ModelFolders:
    """Where models are looked for.

    Attributes:
        root: The ``models`` folder, with one folder a kind.
        more: Further folders laid out alike, such as one on a mounted volume.
    """

    root: Path
    more: tuple[Path, ...] = ()

    def find(self, model: Model) -> Path | None:
        """Return the file, or ``None`` where no folder has it."""
        for folder in (self.root, *self.more):
            path = folder / model.folder / model.file
            if path.is_file():
                return path
        return None


def check_model_file(folders: ModelFolders, model: Model) -> None:
    """Check that a model's file is there, whole, and of the right architecture.

    Raises:
        MissingModelError: No folder has it.
        ModelError: It is truncated, not what its name says, or of another architecture.
    """
    path = folders.find(model)
    if path is None:
        searched = ", ".join(str(folder / model.folder) for folder in (folders.root, *folders.more))
        raise MissingModelError(
            f"The model {model.folder}/{model.file} is in none of {searched}. Run ./provision.sh "
            "with the workflow's profile, or mount the volume that has it.",
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

    Format: 8 bytes of header length, a JSON header with each tensor's place, the tensors without
    gaps (github.com/huggingface/safetensors, "Format").

    Raises:
        ModelError: The file is truncated or is not a safetensors file.
    """
    try:
        size, prefix, header = _read_header(path)
    except OSError as error:
        raise _unusable(path, f"it cannot be read ({error.strerror})") from error
    if not header:
        raise _unusable(path, f"it is not a safetensors file ({_first_words(prefix)})")
    try:
        tensors = _Header.model_validate_json(header).__pydantic_extra__
    except ValidationError as error:
        raise _unusable(path, "its header cannot be read") from error
    end = max((tensor.data_offsets[1] for tensor in tensors.values()), default=0)
    expected = len(prefix) + len(header) + end
    if size != expected:
        raise _unusable(path, f"it has {size} bytes where its header says {expected}")
    return {name: tensor.shape for name, tensor in tensors.items()}


_Size = Annotated[int, Field(strict=True, ge=0, lt=2**63)]


class _Tensor(BaseModel):
    """What the header says of one tensor; the offsets count from the end of the header."""

    shape: tuple[_Size, ...]
    data_offsets: tuple[_Size, _Size]

    @field_validator("data_offsets")
    @classmethod
    def _ends_after_its_start(cls, value: tuple[int, int]) -> tuple[int, int]:
        if value[1] < value[0]:
            raise PydanticCustomError("data_offsets", "a tensor ends before it starts")
        return value


class _Header(BaseModel):
    model_config = ConfigDict(extra="allow")

    metadata: JsonValue = Field(None, alias="__metadata__")
    __pydantic_extra__: dict[str, _Tensor] = Field(init=False)


def _read_header(path: Path) -> tuple[int, bytes, bytes]:
    """Return the file's size, its first eight bytes, and the header; empty if it can be none."""
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0  # noqa: PLR2004
        return size, prefix, file.read(length) if length <= min(size, _MAX_HEADER) else b""


def _first_words(prefix: bytes) -> str:
    # A download that failed often leaves an error page under the model's name.
    return f"it starts with {prefix!r}" if prefix.isascii() else "its first bytes make no header"


def _unusable(path: Path, why: str) -> ModelError:
    return ModelError(
        f"The model file {path} cannot be used: {why}. Delete it and fetch it again "
        "(./provision.sh).",
        file=path.name,
    )
