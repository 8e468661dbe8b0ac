"""Names and shapes of SDXL's tensors, read off ComfyUI's own classes on torch's ``meta`` device.

To be imported where ComfyUI's source folder is on ``sys.path`` and its arguments are set.
"""

from __future__ import annotations

import comfy.cldm.cldm
import comfy.ldm.models.autoencoder
import comfy.ldm.modules.diffusionmodules.openaimodel as unet
import comfy.ops
import comfy.sdxl_clip
import comfy.supported_models
import torch

Shapes = dict[str, tuple[int, ...]]

# Stability AI's published sd_xl_base.yaml; ComfyUI reads the same values off a checkpoint's shapes.
_UNET = {
    "image_size": 32,
    "in_channels": 4,
    "model_channels": 320,
    "channel_mult": [1, 2, 4],
    "num_res_blocks": [2, 2, 2],
    "use_spatial_transformer": True,
    "use_linear_in_transformer": True,
    "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_middle": 10,
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
    "context_dim": 2048,
    "num_heads": -1,
    "num_head_channels": 64,
    "num_classes": "sequential",
    "adm_in_channels": 2816,
    "legacy": False,
}
_VAE = {
    "double_z": True,
    "z_channels": 4,
    "resolution": 256,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 128,
    "ch_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attn_resolutions": [],
    "dropout": 0.0,
}
_LAYERS = {"device": torch.device("meta"), "dtype": torch.float16}


def checkpoint_shapes() -> Shapes:
    """Return the tensors of a base checkpoint: denoiser, VAE and both text encoders."""
    clip = comfy.sdxl_clip.SDXLClipModel(**_LAYERS)
    naming = comfy.supported_models.SDXL(_UNET)
    return _shapes(
        naming.process_unet_state_dict_for_saving(_unet().state_dict())
        | naming.process_vae_state_dict_for_saving(_vae().state_dict())
        | naming.process_clip_state_dict_for_saving(clip.state_dict())
    )


def unet_shapes() -> Shapes:
    """Return the denoiser's tensors under ComfyUI's names for its layers."""
    return _shapes(_unet().state_dict())


def text_encoder_shapes() -> tuple[Shapes, Shapes]:
    """Return the tensors of CLIP-L and of CLIP-G under the names of Hugging Face's classes."""
    clip = comfy.sdxl_clip.SDXLClipModel(**_LAYERS)
    return _shapes(clip.clip_l.transformer.state_dict()), _shapes(
        clip.clip_g.transformer.state_dict()
    )


def vae_shapes() -> Shapes:
    """Return the tensors of a VAE on its own; Stable Diffusion 1 and 2 have the same layers."""
    return _shapes(_vae().state_dict())


def control_shapes() -> Shapes:
    """Return the tensors of a whole ControlNet for SDXL, which a control LoRA stands for."""
    control = comfy.cldm.cldm.ControlNet(
        **_UNET, hint_channels=3, operations=comfy.ops.disable_weight_init, **_LAYERS
    )
    return _shapes(control.state_dict())


def _unet() -> torch.nn.Module:
    return unet.UNetModel(
        **_UNET, out_channels=4, operations=comfy.ops.disable_weight_init, **_LAYERS
    )


def _vae() -> torch.nn.Module:
    with torch.device("meta"):
        return comfy.ldm.models.autoencoder.AutoencoderKL(embed_dim=4, ddconfig=_VAE)


def _shapes(state: dict[str, torch.Tensor]) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}
