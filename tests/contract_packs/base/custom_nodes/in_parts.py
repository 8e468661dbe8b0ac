"""Works through its input in parts: queues the graph again until the last part is done."""

import torch
from server import PromptServer

PARTS = 3
done = []


class InParts:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}, "hidden": {"prompt": "PROMPT", "unique_id": "UNIQUE_ID"}}

    @classmethod
    def IS_CHANGED(cls, **kwargs):
        return float("nan")

    def run(self, prompt, unique_id):
        server = PromptServer.instance
        running = server.prompt_queue.currently_running
        if len(running) != 1:
            raise AssertionError
        number, prompt_id, shown, extra_data, outputs, *more = next(iter(running.values()))
        part = shown[unique_id]["inputs"].get("part", 0)
        done.append((number, part))
        if part + 1 < PARTS:
            shown = {**shown, unique_id: {**shown[unique_id], "inputs": {"part": part + 1}}}
            item = (-server.number, f"{prompt_id}-{part}", shown, extra_data, outputs, *more)
            server.number += 1
            server.prompt_queue.put(item)
        return (torch.full((1, 8, 8, 3), part / PARTS),)


NODE_CLASS_MAPPINGS = {"InParts": InParts}
