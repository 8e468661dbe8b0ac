"""Where each generated file goes, below the models folder: the real files' names."""

from __future__ import annotations

CHECKPOINT = "checkpoints/dreamshaperXL_sfwV2TurboDPMSDE.safetensors"
LORA = "loras/StudioGhibli.Redmond-StdGBRRedmAF-StudioGhibli.safetensors"
CANNY_CONTROL = "controlnet/sai_xl_canny_256lora.safetensors"
DEPTH_CONTROL = "controlnet/sai_xl_depth_256lora.safetensors"
DEPTH_UNET = "diffusion_models/lotus-depth-d-v1-1.safetensors"
DEPTH_VAE = "vae/vae-ft-mse-840000-ema-pruned.safetensors"
TAGGER = "wd14_tagger/wd-v1-4-moat-tagger-v2.onnx"
TAGGER_TAGS = "wd14_tagger/wd-v1-4-moat-tagger-v2.csv"

ALL_FILES = (
    CHECKPOINT,
    LORA,
    CANNY_CONTROL,
    DEPTH_CONTROL,
    DEPTH_UNET,
    DEPTH_VAE,
    TAGGER_TAGS,
    TAGGER,
)
