"""Names and shapes of Lotus's depth model, as ComfyUI's own classes have them.

It is Stable Diffusion 2's denoiser, in diffusers' naming, with a task embedding of four numbers.
To be imported where ComfyUI's source folder is on ``sys.path`` and its arguments are set.
"""

from __future__ import annotations

import comfy.ldm.modules.diffusionmodules.openaimodel as unet
import comfy.ops
import comfy.utils
import torch

_UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "channel_mult": [1, 2, 4, 4],
    "num_res_blocks": [2, 2, 2, 2],
    "use_spatial_transformer": True,
    "use_linear_in_transformer": True,
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "context_dim": 1024,
    "num_heads": -1,
    "num_head_channels": 64,
    "num_classes": "sequential",
    "adm_in_channels": 4,
    "legacy": False,
}


def depth_shapes() -> dict[str, tuple[int, ...]]:
    """Return the depth model's tensors."""
    model = unet.UNetModel(
        **_UNET,
        operations=comfy.ops.disable_weight_init,
        device=torch.device("meta"),
        dtype=torch.float16,
    )
    tensors = model.state_dict()
    names = comfy.utils.unet_to_diffusers(_UNET)
    return {
        name: tuple(tensors[key].shape)
        for name, key in names.items()
        if key in tensors and not name.startswith("add_embedding.")  # a second name, SDXL's
    }
