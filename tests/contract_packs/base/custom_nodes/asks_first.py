"""Fills in an input before the graph is validated, and has a page of its own."""

from aiohttp import web
from server import PromptServer


def shout(request):
    for node in request["prompt"].values():
        if node["class_type"] == "Shouted":
            node["inputs"]["loud"] = node["inputs"]["said"].upper()
    return request


def stumble(request):
    raise RuntimeError("this handler never works")


@PromptServer.instance.routes.get("/asks_first")
async def page(request):
    return web.json_response({})


PromptServer.instance.add_on_prompt_handler(stumble)
PromptServer.instance.add_on_prompt_handler(shout)


class Shouted:
    RETURN_TYPES = ("STRING",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"said": ("STRING", {}), "loud": ("STRING", {})}}

    def run(self, said, loud):
        if loud != said.upper():
            raise ValueError(f"loud is {loud!r}")
        return (loud,)


NODE_CLASS_MAPPINGS = {"Shouted": Shouted}
