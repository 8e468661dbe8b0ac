"""Nodes that fail, wait and write files, for tests of the runtime."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import threading
import time
from pathlib import Path

import comfy.utils
import folder_paths
import numpy as np
import torch
from comfy_execution.graph_utils import GraphBuilder
from PIL import Image


class Panic(BaseException):
    """What an extension written in Rust raises when it panics: no Exception."""


def _interrupt():
    import comfy.model_management

    raise comfy.model_management.InterruptProcessingException


class Raise:
    """Raises what its input names."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE", {}), "kind": ([*RAISED, "nothing"], {})}}

    def run(self, image, kind):
        if kind != "nothing":
            RAISED[kind]()
        return (image,)


def _raiser(error):
    def run():
        raise error

    return run


RAISED = {
    "ValueError": _raiser(ValueError("the image is not to this node's liking")),
    "torch.OutOfMemoryError": _raiser(
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
    ),
    "torch.AcceleratorError": _raiser(torch.AcceleratorError("CUDA error: out of memory")),
    "the CPU's allocator": lambda: torch.empty(2**60, dtype=torch.uint8),
    "MemoryError": _raiser(MemoryError),
    "numpy's array": lambda: np.empty(2**60, np.uint8),
    "RuntimeError of HIP": _raiser(RuntimeError("HIP out of memory. Tried to allocate 20.00 GiB")),
    "SystemExit": _raiser(SystemExit(3)),
    "KeyboardInterrupt": _raiser(KeyboardInterrupt),
    "CancelledError": _raiser(asyncio.CancelledError),
    "GeneratorExit": _raiser(GeneratorExit),
    "Panic": _raiser(Panic("the index is out of bounds")),
    "interrupt": _interrupt,
}


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
        how = (["exit", "segfault", "abort", "kill"], {})
        return {"required": {"image": ("IMAGE", {}), "seconds": seconds, "how": how}}

    def run(self, image, seconds, how):
        time.sleep(seconds)
        if how == "segfault":
            ctypes.string_at(0)
        if how == "abort":
            os.abort()
        if how == "kill":  # as the kernel does when memory is short
            os.kill(os.getpid(), signal.SIGKILL)
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


class UseModel:
    """Takes a model and gives the picture back."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE", {}), "model": ("MODEL", {})}}

    def run(self, image, model):
        return (image,)


class ModelOfPicture:
    """Gives a model that a picture went into."""

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE", {}), "model": ("MODEL", {})}}

    def run(self, image, model):
        patched = model.clone()
        patched.model_options["picture"] = image
        return (patched,)


class ExpandToLoader:
    """Stands for a loader and a node that uses what it loads."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE", {}), "unet_name": ("STRING", {})}}

    def run(self, image, unet_name):
        graph = GraphBuilder()
        loader = graph.node("UNETLoader", unet_name=unet_name, weight_dtype="default")
        used = graph.node("TestUseModel", image=image, model=loader.out(0))
        return {"result": (used.out(0),), "expand": graph.finalize()}


class LoadState:
    """Loads a file's tensors as they are, as packs do that have no class for their models."""

    RETURN_TYPES = ("TEST_STATE",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        names = folder_paths.get_filename_list("diffusion_models")
        return {"required": {"file": (names, {})}}

    def run(self, file):
        path = folder_paths.get_full_path("diffusion_models", file)
        return ({"weights": comfy.utils.load_torch_file(path)},)


class UseState:
    """Takes tensors and gives the picture back."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE", {}), "state": ("TEST_STATE", {})}}

    def run(self, image, state):
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
    "TestUseModel": UseModel,
    "TestModelOfPicture": ModelOfPicture,
    "TestExpandToLoader": ExpandToLoader,
    "TestLoadState": LoadState,
    "TestUseState": UseState,
}
