"""A ComfyUI node that describes a picture in words, for prompts.

Its model files are in ``models/wd14_tagger``; see :mod:`comfyui_runtime.in_process.tagging`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from comfyui_runtime.errors import MissingModelError
from comfyui_runtime.in_process import comfy
from comfyui_runtime.in_process.tagging import Choice, choose_tags, load_tagger, prompt_text

MODELS_FOLDER = "wd14_tagger"


class WD14Tags:
    """Writes the tags of a picture, the most probable first."""

    RETURN_TYPES: ClassVar = ("STRING",)
    RETURN_NAMES: ClassVar = ("tags",)
    FUNCTION: ClassVar = "describe"
    CATEGORY: ClassVar = "image"
    DESCRIPTION: ClassVar = "Describes a picture with a WD14 tagger, as text for a prompt."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name
        """Declare the inputs, their bounds and defaults."""
        probability = {"min": 0.0, "max": 1.0, "step": 0.01}
        return {
            "required": {
                "image": ("IMAGE", {}),
                "model": (comfy.model_names(MODELS_FOLDER), {}),
                "threshold": ("FLOAT", {"default": 0.35, **probability}),
                "character_threshold": ("FLOAT", {"default": 0.85, **probability}),
                "exclude_tags": (
                    "STRING",
                    {"default": "", "tooltip": "Tags to leave out, parted by commas."},
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
        """Return the tags, parted by commas.

        Args:
            image: Float tensor of shape (batch, height, width, 3) from 0 to 1. A batch is
                described as one: each tag counts with its highest probability.
            model: File name in one of the ``wd14_tagger`` folders.
            threshold: Probability that a general tag must exceed.
            character_threshold: The same for names of characters.
            exclude_tags: Tags to leave out, parted by commas.
            replace_underscore: Whether words are parted by spaces.

        Raises:
            MissingModelError: The model or its tag list is not there.
            ModelError: One of them cannot be used.
            NodeError: onnxruntime is not installed.
        """
        file = comfy.model_path(MODELS_FOLDER, model)
        if file is None:
            folders = ", ".join(comfy.folder_roots(MODELS_FOLDER))
            raise MissingModelError(f"{model} is not in {folders}. Put it there.", path=model)
        tagger = load_tagger(file, cuda_device=comfy.cuda_index())
        batch = (image[..., :3].clamp(0, 1) * 255).round().byte().cpu().numpy()
        probabilities = np.max([tagger.probabilities(pixels) for pixels in batch], axis=0)
        choice = Choice(
            threshold=threshold,
            character_threshold=character_threshold,
            exclude=frozenset(exclude_tags.split(",")),
        )
        names = choose_tags(tagger.tags, probabilities, choice)
        return (prompt_text(names, replace_underscore=replace_underscore),)


NODE_CLASS_MAPPINGS = {"WD14Tags": WD14Tags}
NODE_DISPLAY_NAME_MAPPINGS = {"WD14Tags": "WD14 Tags"}
