"""Fails without a word while it runs."""


class SaysNothing:
    RETURN_TYPES = ("STRING",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"steps": ("INT", {"default": 4})}}

    def run(self, steps):
        raise LookupError


class NeedsValue(SaysNothing):
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("INT", {})}}


NODE_CLASS_MAPPINGS = {"SaysNothing": SaysNothing, "NeedsValue": NeedsValue}
