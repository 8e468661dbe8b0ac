"""Tells which nodes' outputs are models, and how large those are."""

from __future__ import annotations

import sys
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from comfyui_runtime.in_process.comfy.lazy_imports import is_pending
from comfyui_runtime.run.runtime import LoadedModels

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from comfyui_runtime.workflow.graph import NodeId

# What identifies the models behind an output: the class of the node that gave it, the texts among
# its inputs (file names, types), and the same of the models that lead to it. Numbers do not.
Slot = tuple[str, tuple[str, ...], tuple["Slot", ...]]

_MODEL_FILES = frozenset(
    {".bin", ".ckpt", ".gguf", ".onnx", ".pkl", ".pt", ".pt2", ".pth", ".safetensors", ".sft"}
)
# Types of outputs that are a job's own, even where the node that gives them names a model file.
_JOB_TYPES = frozenset({"AUDIO", "CONDITIONING", "IMAGE", "LATENT", "MASK", "VIDEO"})
# Attributes in which ComfyUI's and packs' objects have the model that they are made for.
_HOLDERS = ("patcher", "model", "first_stage_model", "cond_stage_model")
_DEPTH = 4


class ModelOutputs:
    """The outputs of the nodes of one prompt.

    Args:
        dynprompt: ComfyUI's prompt, with the nodes that others were expanded to.
        entries: ComfyUI's cache entries, by node.
    """

    def __init__(self, dynprompt: Any, entries: Mapping[NodeId, Any]) -> None:  # noqa: ANN401
        self._dynprompt = dynprompt
        self._entries = entries
        self._slots: dict[NodeId, Slot | None] = {}

    def models(self, node_id: NodeId) -> tuple[Any, ...]:
        """Return the models among a node's outputs."""
        return tuple(_models(self._entries[node_id].outputs))

    def slot(self, node_id: NodeId) -> Slot | None:
        """Return what identifies a node's models.

        Returns:
            ``None`` where the outputs are no models, or where pictures, latents or texts have gone
            into them: another job has others.
        """
        if node_id not in self._slots:
            self._slots[node_id] = None  # for a circle
            self._slots[node_id] = self._slot(node_id)
        return self._slots[node_id]

    def _slot(self, node_id: NodeId) -> Slot | None:
        if node_id not in self._entries:
            return None
        node = self._dynprompt.get_node(node_id)
        class_type, inputs = node["class_type"], node["inputs"]
        ancestors = dict.fromkeys(value[0] for value in inputs.values() if _is_link(value))
        if not self._is_model(node_id, class_type, inputs, linked=bool(ancestors)):
            return None
        slots = []
        for ancestor in ancestors:
            if _is_plain(getattr(self._entries.get(ancestor), "outputs", (object(),))):
                continue
            slot = self.slot(ancestor)
            if slot is None:
                return None
            slots.append(slot)
        return class_type, tuple(sorted(_texts(inputs))), tuple(slots)

    def _is_model(
        self, node_id: NodeId, class_type: str, inputs: Mapping[str, Any], *, linked: bool
    ) -> bool:
        outputs = self._entries[node_id].outputs
        node_class = sys.modules["nodes"].NODE_CLASS_MAPPINGS[class_type]
        if getattr(node_class, "OUTPUT_NODE", False):
            return False
        if _is_of_a_job({str(type_) for type_ in node_class.RETURN_TYPES}, outputs):
            return False
        if any(True for _ in _models(outputs)):
            return True
        # Some packs' models are mere tensors or objects of their own: what reads a model file is
        # a loader.
        return not linked and any(True for _ in file_names(inputs)) and not _is_plain(outputs)


def file_names(inputs: Mapping[str, Any]) -> Iterator[str]:
    """Give the model files that a node's inputs name."""
    for text in _texts(inputs):
        if PurePosixPath(text).suffix.lower() in _MODEL_FILES:
            yield text


def loaded_models(models: Iterable[Any]) -> LoadedModels:
    """Return how many different models there are and what they take."""
    weights = {id(_weights(model)): model for model in models}
    sizes = [_size(model) for model in weights.values()]
    return LoadedModels(
        count=len(sizes),
        ram_bytes=sum(ram for ram, _ in sizes),
        device_bytes=sum(device for _, device in sizes),
    )


def _is_link(value: object) -> bool:
    match value:
        case [str(), int() | float()]:
            return True
    return False


def _texts(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case [str(), int() | float()]:
            return
        case dict():
            for part in value.values():
                yield from _texts(part)
        case list() | tuple():
            for part in value:
                yield from _texts(part)


def _parts(value: object, depth: int = _DEPTH) -> Iterator[object]:
    """Give the objects in nested lists and mappings."""
    if isinstance(value, list | tuple | dict):
        if depth:
            for part in value.values() if isinstance(value, dict) else value:
                yield from _parts(part, depth - 1)
    else:
        yield value


def _is_plain(outputs: object) -> bool:
    return all(isinstance(part, str | int | float | None) for part in _parts(outputs))


def _is_of_a_job(types: set[str], outputs: object) -> bool:
    """Say whether outputs are one job's own: pictures, latents, or pipes that hold them."""
    if types & _JOB_TYPES or any("PIPE" in type_ for type_ in types):
        return True
    tensor = sys.modules["torch"].Tensor
    return "*" in types and any(isinstance(part, tensor) for part in _parts(outputs))


def _models(outputs: object) -> Iterator[Any]:
    types = _model_types()
    for part in _parts(outputs):
        if isinstance(part, types):
            yield part
            continue
        # Not getattr: it would run properties, which some packs load a model in.
        held = getattr(part, "__dict__", {})
        model = next((held[name] for name in _HOLDERS if isinstance(held.get(name), types)), None)
        if model is not None:
            yield model


def _model_types() -> tuple[type, ...]:
    """Return the classes of models, as far as their modules are executed: else there are none."""
    named = (("comfy.model_patcher", "ModelPatcher"), ("comfy.controlnet", "ControlBase"))
    return (
        sys.modules["torch"].nn.Module,
        *(
            getattr(sys.modules[module], name)
            for module, name in named
            if module in sys.modules and not is_pending(module)
        ),
    )


def _weights(model: Any) -> Any:  # noqa: ANN401 - ComfyUI's and torch's classes
    """Return the object that copies with other patches share."""
    for name in ("control_model_wrapped", "t2i_model", "control_model", "model"):
        inner = getattr(model, "__dict__", {}).get(name)
        if inner is not None:
            return _weights(inner)
    return model


def _size(model: Any) -> tuple[int, int]:  # noqa: ANN401 - ComfyUI's and torch's classes
    """Return the bytes in RAM and on the device."""
    torch = sys.modules["torch"]
    if hasattr(model, "model_size") and hasattr(model, "loaded_size"):
        size = int(model.model_size())
        on_device = 0 if _is_cpu(model.load_device) else min(size, int(model.loaded_size()))
        return size - on_device, on_device
    if isinstance(model, torch.nn.Module):
        tensors = [*model.parameters(), *model.buffers()]
    else:
        inner = _weights(model)
        if inner is not model:
            return _size(inner)
        parts = _parts(vars(model).get("control_weights"))
        tensors = [part for part in parts if isinstance(part, torch.Tensor)]
    ram = sum(tensor.nbytes for tensor in tensors if _is_cpu(tensor.device))
    return ram, sum(tensor.nbytes for tensor in tensors) - ram


def _is_cpu(device: Any) -> bool:  # noqa: ANN401 - torch's
    return getattr(device, "type", None) == "cpu"
