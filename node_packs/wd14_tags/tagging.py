"""Describes a picture in words, with the WD14 taggers that SmilingWolf publishes as ONNX files.

Beside ``<name>.onnx`` lies ``<name>.csv``, published as ``selected_tags.csv``: one row for each of
the model's outputs, with the columns tag_id, name, category and count.
"""

from __future__ import annotations

import csv
import os
import re
import threading
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from onnxruntime import InferenceSession

_WORD = re.compile(r"[^\W\d_]{2}")
_MAX_CPU_THREADS = 8  # more do not make one picture faster; the sampler's threads wait meanwhile


class Category(IntEnum):
    """Kinds of tags, as the tag list numbers them. Others exist; they are never chosen."""

    GENERAL = 0
    CHARACTER = 4
    RATING = 9


@dataclass(frozen=True)
class Tag:
    """One row of a tag list."""

    name: str
    category: int


@dataclass(frozen=True)
class Choice:
    """Which tags to take.

    Attributes:
        threshold: Probability that a general tag must exceed, from 0 to 1.
        character_threshold: The same for the names of characters.
        exclude: Tags to leave out, in any case, with spaces or underscores.
    """

    threshold: float = 0.35
    character_threshold: float = 0.85
    exclude: frozenset[str] = frozenset()


class Tagger:
    """A loaded model. Safe to call from several threads.

    Args:
        session: The model.
        tags: What each of its outputs stands for, in order.
        file: Where it came from, for messages.

    Raises:
        ValueError: The model is not a tagger, or the list is another model's.
    """

    def __init__(self, session: InferenceSession, tags: Sequence[Tag], file: Path) -> None:
        self.tags = tuple(tags)
        self._session = session
        self._input, self._size = _input_of(session, file)
        outputs = session.get_outputs()[0].shape[-1]
        if outputs != len(tags):
            raise ValueError(
                f"{file.name} has {outputs} outputs, but {tags_file(file).name} lists {len(tags)} "
                "tags. Take both files from the same publication.",
            )

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the probability of each tag, from 0 to 1, for a (height, width, 3) RGB picture."""
        batch = to_model_input(pixels, self._size)
        (result,) = self._session.run(None, {self._input: batch})
        return np.asarray(result[0], np.float32)


def load_tagger(file: Path, *, cuda_device: int | None = None) -> Tagger:
    """Return the tagger of an ONNX file; each file is loaded once in a process.

    Args:
        file: The ``.onnx`` file; its tag list lies beside it.
        cuda_device: Index of the GPU; ``None`` for the CPU. The CPU is used too where the
            installed onnxruntime has no CUDA.

    Raises:
        FileNotFoundError: The model or its tag list is not there. Nothing is downloaded.
        ValueError: One of them cannot be used.
        ImportError: onnxruntime is not installed.
    """
    for part in (file, tags_file(file)):
        if not part.is_file():
            raise FileNotFoundError(
                f"The tagger needs {part.name}, which is not in {part.parent}. Put it there.",
            )
    with _loading:
        state = file.stat()
        key = _Key(file.resolve(), state.st_size, state.st_mtime_ns, cuda_device)
        if key not in _taggers:
            tags = read_tags(tags_file(file))
            _taggers[key] = Tagger(_open_session(file, cuda_device), tags, file)
        return _taggers[key]


def tags_file(model_file: Path) -> Path:
    """Return where a model's tag list lies."""
    return model_file.with_suffix(".csv")


def read_tags(file: Path) -> list[Tag]:
    """Read a tag list.

    Raises:
        ValueError: It is not a CSV file with the columns ``name`` and ``category``.
    """
    try:
        with file.open(encoding="utf-8", newline="") as text:
            tags = [Tag(row["name"], int(row["category"])) for row in csv.DictReader(text)]
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise ValueError(
            f"{file.name} is not a tag list: it needs the columns name and category, the latter "
            "a number. It is published as selected_tags.csv beside the model.",
        ) from error
    if not tags:
        raise ValueError(f"{file.name} lists no tags: download it again.")
    return tags


def to_model_input(pixels: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """Prepare a picture as the models were trained: on a white square, in BGR from 0 to 255.

    The order of the steps is that of the publisher's demonstration
    (https://huggingface.co/spaces/SmilingWolf/wd-tagger).

    Args:
        pixels: RGB picture of shape (height, width, 3).
        size: Width and height that the model takes, in pixels.

    Returns:
        An array of shape (1, size, size, 3).
    """
    height, width = pixels.shape[:2]
    side = max(height, width)
    square = Image.new("RGB", (side, side), "white")
    square.paste(Image.fromarray(pixels), ((side - width) // 2, (side - height) // 2))
    if side != size:
        square = square.resize((size, size), Image.Resampling.BICUBIC)
    bgr = np.asarray(square)[:, :, ::-1]
    return np.ascontiguousarray(bgr[None], np.float32)


def choose_tags(
    tags: Sequence[Tag], probabilities: NDArray[np.float32], choice: Choice
) -> list[str]:
    """Return the names of the tags that pass, the most probable first, as the list writes them."""
    excluded = {_plain(name) for name in choice.exclude}
    thresholds = {
        Category.GENERAL: choice.threshold,
        Category.CHARACTER: choice.character_threshold,
    }
    passing = [
        (float(probability), tag.name)
        for tag, probability in zip(tags, probabilities, strict=True)
        if tag.category in thresholds
        and probability > thresholds[Category(tag.category)]
        and _plain(tag.name) not in excluded
    ]
    return [name for _, name in sorted(passing, key=lambda item: -item[0])]


def prompt_text(names: Iterable[str], *, replace_underscore: bool) -> str:
    r"""Join tags into prompt text.

    Parentheses give weight to words in ComfyUI's prompts; those of a tag are written ``\(``.

    Args:
        names: Tags as the list writes them.
        replace_underscore: Whether words are separated by spaces. Tags that are faces, such as
            ``^_^``, keep their underscore.
    """
    return ", ".join(_in_prompt(name, replace_underscore=replace_underscore) for name in names)


@dataclass(frozen=True)
class _Key:
    file: Path
    size: int
    changed: int
    cuda_device: int | None


_taggers: dict[_Key, Tagger] = {}
_loading = threading.Lock()


def _open_session(file: Path, cuda_device: int | None) -> InferenceSession:
    # Imported here: a graph without tags need not wait for it.
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as failures
    except ImportError as error:
        raise ImportError(
            "The tagger needs onnxruntime, or onnxruntime-gpu for CUDA: install one of them."
        ) from error
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = min(_MAX_CPU_THREADS, len(os.sched_getaffinity(0)))
    providers: list[str | tuple[str, dict[str, str]]] = ["CPUExecutionProvider"]
    if cuda_device is not None and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        # The default search tries every convolution algorithm, which takes seconds, and the
        # default arena doubles its claim on memory that the sampler needs.
        cuda = {
            "device_id": str(cuda_device),
            "cudnn_conv_algo_search": "HEURISTIC",
            "arena_extend_strategy": "kSameAsRequested",
        }
        providers.insert(0, ("CUDAExecutionProvider", cuda))
        options.intra_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(str(file), options, providers)
    except (
        failures.Fail,
        failures.InvalidArgument,
        failures.InvalidGraph,
        failures.InvalidProtobuf,
        failures.NotImplemented,
    ) as error:
        raise ValueError(
            f"{file.name} cannot be loaded as an ONNX model; it may be truncated: download it "
            "again."
        ) from error


def _input_of(session: InferenceSession, file: Path) -> tuple[str, int]:
    first = session.get_inputs()[0]
    match first.shape:
        case [_, int(height), int(width), 3] if height == width:
            return first.name, height
    raise ValueError(
        f"{file.name} is not a WD14 tagger: its input is {first.shape}, not (1, size, size, 3).",
    )


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", " ")


def _in_prompt(name: str, *, replace_underscore: bool) -> str:
    if replace_underscore and _WORD.search(name):
        name = name.replace("_", " ")
    return name.replace("(", r"\(").replace(")", r"\)")
