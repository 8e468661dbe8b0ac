"""Imports one of ComfyUI's node files by its package's name; from 0.8 on, two import each other."""

from comfy_extras.nodes_latent import LatentBatch


class EntersByName:
    CATEGORY = "test"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}

    def run(self, image):
        assert LatentBatch.__module__ == "comfy_extras.nodes_latent"
        return (image,)


NODE_CLASS_MAPPINGS = {"EntersByName": EntersByName}
