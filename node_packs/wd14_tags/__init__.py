"""A ComfyUI node that describes a picture in words, for prompts.

Its model files are in ``models/wd14_tagger``; README.md says which and where to get them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import comfy.model_management
import folder_paths
import numpy as np

from .tagging import Choice, choose_tags, load_tagger, prompt_text

MODELS_FOLDER = "wd14_tagger"

folder_paths.add_model_folder_path(MODELS_FOLDER, str(Path(folder_paths.models_dir, MODELS_FOLDER)))


class WD14Tags:
    """Writes the tags of a picture, the most probable first."""

    RETURN_TYPES: ClassVar = ("STRING",)
    RETURN_NAMES: ClassVar = ("tags",)
    FUNCTION: ClassVar = "describe"
    CATEGORY: ClassVar = "image"
    DESCRIPTION: ClassVar = "Describes a picture with a WD14 tagger, as text for a prompt."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Declare the inputs, their bounds and defaults."""
        probability = {"min": 0.0, "max": 1.0, "step": 0.01}
        files = folder_paths.get_filename_list(MODELS_FOLDER)
        return {
            "required": {
                "image": ("IMAGE", {}),
                # The tag lists are in the same folder.
                "model": ([name for name in files if name.endswith(".onnx")], {}),
                "threshold": ("FLOAT", {"default": 0.35, **probability}),
                "character_threshold": ("FLOAT", {"default": 0.85, **probability}),
                "exclude_tags": (
                    "STRING",
                    {"default": "", "tooltip": "Tags to leave out, separated by commas."},
                ),
                "replace_underscore": ("BOOLEAN", {"default": True}),
            }
        }

    def describe(  # noqa: PLR0913 - one argument for each of the node's inputs
        self,
        image: Any,  # noqa: ANN401 - a torch tensor
        model: str,
        threshold: float,
        character_threshold: float,
        exclude_tags: str,
        *,
        replace_underscore: bool,
    ) -> tuple[str]:
        """Return the tags, separated by commas.

        Args:
            image: Float tensor of shape (batch, height, width, 3) from 0 to 1. A batch is
                described as one: each tag counts with its highest probability.
            model: File name in one of the ``wd14_tagger`` folders.
            threshold: Probability that a general tag must exceed.
            character_threshold: The same for names of characters.
            exclude_tags: Tags to leave out, separated by commas.
            replace_underscore: Whether words are separated by spaces.

        Raises:
            FileNotFoundError: The model or its tag list is missing.
            ValueError: One of them cannot be used.
            ImportError: onnxruntime is not installed.
        """
        file = folder_paths.get_full_path(MODELS_FOLDER, model)
        if file is None:
            folders = ", ".join(folder_paths.get_folder_paths(MODELS_FOLDER))
            raise FileNotFoundError(f"{model} is in none of {folders}. Put it in one of them.")
        tagger = load_tagger(Path(file), cuda_device=_cuda_index())
        batch = (image[..., :3].clamp(0, 1) * 255).round().byte().cpu().numpy()
        probabilities = np.max([tagger.probabilities(pixels) for pixels in batch], axis=0)
        choice = Choice(
            threshold=threshold,
            character_threshold=character_threshold,
            exclude=frozenset(exclude_tags.split(",")),
        )
        names = choose_tags(tagger.tags, probabilities, choice)
        return (prompt_text(names, replace_underscore=replace_underscore),)


def _cuda_index() -> int | None:
    """Return the index of the CUDA device that ComfyUI uses; ``None`` on the CPU."""
    device = comfy.model_management.get_torch_device()
    return int(device.index or 0) if device.type == "cuda" else None


NODE_CLASS_MAPPINGS = {"WD14Tags": WD14Tags}
NODE_DISPLAY_NAME_MAPPINGS = {"WD14Tags": "WD14 Tags"}
