"""A node pack with a node that occupies the device for a given time."""

from __future__ import annotations

import time
from typing import Any, ClassVar


class Hold:
    """Waits without using the processor, as the host does while a GPU works."""

    RETURN_TYPES: ClassVar = ("IMAGE",)
    FUNCTION: ClassVar = "hold"
    CATEGORY: ClassVar = "bench"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name
        """Declare the inputs."""
        return {"required": {"image": ("IMAGE", {}), "seconds": ("FLOAT", {"default": 0.5})}}

    def hold(self, image: Any, seconds: float) -> tuple[Any]:  # noqa: ANN401 - a torch tensor
        """Return the image after ``seconds``."""
        time.sleep(seconds)
        return (image,)


NODE_CLASS_MAPPINGS = {"BenchHold": Hold}
