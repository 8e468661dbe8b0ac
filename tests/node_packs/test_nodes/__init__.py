"""Nodes that fail, wait and write files, for tests of the runtime."""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
import time
from pathlib import Path

import comfy.utils
import folder_paths
import torch
from PIL import Image


class Panic(BaseException):
    """What an extension written in Rust raises when it panics: no Exception."""


class Raise:
    """Raises what its input names."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        kinds = [
            "ValueError",
            "torch.OutOfMemoryError",
            "SystemExit",
            "KeyboardInterrupt",
            "CancelledError",
            "GeneratorExit",
            "Panic",
            "interrupt",
            "nothing",
        ]
        return {"required": {"image": ("IMAGE", {}), "kind": (kinds, {})}}

    def run(self, image, kind):
        if kind == "ValueError":
            raise ValueError("the image is not to this node's liking")
        if kind == "torch.OutOfMemoryError":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        if kind == "SystemExit":
            raise SystemExit(3)
        if kind == "KeyboardInterrupt":
            raise KeyboardInterrupt
        if kind == "CancelledError":
            raise asyncio.CancelledError
        if kind == "GeneratorExit":
            raise GeneratorExit
        if kind == "Panic":
            raise Panic("the index is out of bounds")
        if kind == "interrupt":
            import comfy.model_management

            raise comfy.model_management.InterruptProcessingException
        return (image,)


class Steps:
    """Takes a number of steps of some seconds each, reporting every one."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "image": ("IMAGE", {}),
                "steps": ("INT", {"default": 4, "min": 1, "max": 1000}),
                "seconds": ("FLOAT", {"default": 0.01, "min": 0.0, "max": 10.0}),
            }
        }

    def run(self, image, steps, seconds):
        bar = comfy.utils.ProgressBar(steps)
        for _ in range(steps):
            time.sleep(seconds)
            bar.update(1)
        return (image,)


class Previews:
    """Takes a number of steps of some seconds each, with a picture so far in every one."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        return Steps.INPUT_TYPES()

    def run(self, image, steps, seconds):
        bar = comfy.utils.ProgressBar(steps)
        for step in range(steps):
            time.sleep(seconds)
            so_far = Image.new("RGB", (64, 48), (255 * step // steps, 90, 120))
            bar.update_absolute(step + 1, steps, ("JPEG", so_far, 512))
        return (image,)


class Stubborn:
    """Waits until a file is there, and does not stop when told to."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE", {}), "until": ("STRING", {})}}

    def run(self, image, until):
        Path(f"{until}.waiting").touch()
        while not Path(until).exists():
            time.sleep(0.02)
        return (image,)


class LeaveThread:
    """Leaves a thread behind that never ends and that Python waits for at its own end."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE", {})}}

    def run(self, image):
        threading.Thread(target=threading.Event().wait, daemon=False).start()
        return (image,)


class HoldInterpreter:
    """Sleeps in a call into C that keeps the interpreter's lock."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE", {}), "seconds": ("INT", {})}}

    def run(self, image, seconds):
        ctypes.PyDLL(None).sleep(seconds)
        return (image,)


class Die:
    """Ends the process without a word, after some seconds."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        seconds = ("FLOAT", {"default": 0.0, "min": 0.0, "max": 10.0})
        return {"required": {"image": ("IMAGE", {}), "seconds": seconds}}

    def run(self, image, seconds):
        time.sleep(seconds)
        os._exit(9)


class CountCalls:
    """Counts how often it ran, in a file."""

    RETURN_TYPES = ("INT",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"counter": ("STRING", {})}}

    def run(self, counter):
        path = Path(counter)
        count = int(path.read_text()) + 1 if path.exists() else 1
        path.write_text(str(count))
        return (count,)


class Brighten:
    """Scales an image by a number from another node."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE", {}), "by": ("INT", {})}}

    def run(self, image, by):
        return (image * by,)


class SaveText:
    """An output node that writes a text file."""

    RETURN_TYPES = ()
    FUNCTION = "run"
    CATEGORY = "test"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"text": ("STRING", {})}}

    def run(self, text):
        folder = Path(folder_paths.get_output_directory()) / "texts"
        folder.mkdir(exist_ok=True)
        (folder / "note.txt").write_text(text)
        (folder / "left-behind.txt").write_text("never reported")
        return {"ui": {"texts": [{"filename": "note.txt", "subfolder": "texts", "type": "output"}]}}


class SaveElsewhere:
    """An output node that names a file outside ComfyUI's folders."""

    RETURN_TYPES = ()
    FUNCTION = "run"
    CATEGORY = "test"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"name": ("STRING", {})}}

    def run(self, name):
        return {"ui": {"files": [{"filename": name, "subfolder": "", "type": "output"}]}}


class CallService:
    """Fails and tells the key that it was handed, as a careless node of a paid service would."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}, "hidden": {"api_key": "API_KEY_COMFY_ORG"}}

    def run(self, api_key=None):
        message = f"the service does not know the key {api_key}"
        raise ValueError(message)


class Blocked:
    """Blocks what follows, with a message."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE", {})}}

    def run(self, image):
        from comfy_execution.graph import ExecutionBlocker

        return (ExecutionBlocker("this image is refused"),)


class NotANumber:
    """Gives an image of NaN."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE", {})}}

    def run(self, image):
        return (image * float("nan"),)


class ChecksItself:
    """Takes what its front end makes up; the list is only where it starts from."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE", {}), "choice": (["a", "b"], {})}}

    @classmethod
    def VALIDATE_INPUTS(cls, **kwargs):
        return True if kwargs["choice"] != "refused" else "this choice is refused"

    def run(self, image, choice):
        return (image,)


NODE_CLASS_MAPPINGS = {
    "TestCallService": CallService,
    "TestChecksItself": ChecksItself,
    "TestRaise": Raise,
    "TestSteps": Steps,
    "TestPreviews": Previews,
    "TestStubborn": Stubborn,
    "TestLeaveThread": LeaveThread,
    "TestHoldInterpreter": HoldInterpreter,
    "TestDie": Die,
    "TestCountCalls": CountCalls,
    "TestBrighten": Brighten,
    "TestSaveText": SaveText,
    "TestSaveElsewhere": SaveElsewhere,
    "TestBlocked": Blocked,
    "TestNotANumber": NotANumber,
}
