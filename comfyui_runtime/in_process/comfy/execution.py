"""ComfyUI's validation and executor, its progress, and how a run is stopped."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from comfyui_runtime.in_process.comfy.kept_models import KeptModels, Memory, ModelKeepingCache
from comfyui_runtime.run.messages import all_refusals, last_event
from comfyui_runtime.run.runtime import LoadedModels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from PIL.Image import Image

    from comfyui_runtime.in_process.comfy.server import RunEvents
    from comfyui_runtime.run.messages import Refusal, RunEvent
    from comfyui_runtime.workflow.graph import NodeId

_CLIENT_ID = "in-process"


def import_execution() -> None:
    """Import ComfyUI's executor, its core nodes and its server's module."""
    for name in ("comfy.utils", "execution", "server", "nodes", "comfy.model_management"):
        importlib.import_module(name)


OnStep = Callable[[int, int, "Image | None", "NodeId | None"], None]


def install_progress_hook(hook: OnStep) -> None:
    """Have ``hook(value, total, preview, node_id)`` called at each step that a node reports."""
    context = importlib.import_module("comfy_execution.utils")
    progress = importlib.import_module("comfy_execution.progress")
    management = importlib.import_module("comfy.model_management")

    def on_step(
        value: int,
        total: int,
        preview: tuple[str, Image, int] | None,  # format, picture, maximum size
        prompt_id: str | None = None,
        node_id: str | None = None,
    ) -> None:
        del prompt_id
        management.throw_exception_if_processing_interrupted()
        executing = context.get_executing_context()
        if node_id is None and executing is not None:
            node_id = executing.node_id
        if node_id is not None:
            progress.get_progress_state().update_progress(node_id, value, total, preview)
        hook(value, total, preview[1] if preview else None, node_id)

    utils: Any = importlib.import_module("comfy.utils")
    utils.set_progress_bar_global_hook(on_step)
    # Newer releases tell of a step only so often, for their web page's sake; every step is a place
    # where a job can be stopped.
    for limit in ("PROGRESS_THROTTLE_MIN_INTERVAL", "PROGRESS_THROTTLE_MIN_PERCENT"):
        if hasattr(utils, limit):
            setattr(utils, limit, 0)


class Executor:
    """ComfyUI's executor; its cache of node outputs lives from run to run.

    Args:
        executor: ComfyUI's own.
        memory: The memory that models of earlier runs may fill; ``None`` keeps no more than
            ComfyUI's own cache does.
    """

    def __init__(
        self,
        executor: Any,  # noqa: ANN401 - a ComfyUI class
        memory: Memory | None,
    ) -> None:
        self._executor = executor
        self._cache = executor.caches.outputs
        self._kept = None if memory is None else KeptModels(memory)
        if self._kept is not None:
            executor.caches.outputs = ModelKeepingCache(self._cache, self._kept)
            executor.caches.all = [executor.caches.outputs, executor.caches.objects]

    def run(
        self,
        run_id: str,
        prompt: dict[str, Any],
        outputs_to_run: list[NodeId],
        extra_data: Mapping[str, Any] | None = None,
    ) -> RunEvent | None:
        """Run a validated prompt in this thread; return its last event: how it ended.

        Args:
            extra_data: See :func:`comfyui_runtime.run.runtime.extra_data`.
        """
        data = {**(extra_data or {}), "client_id": _CLIENT_ID}
        try:
            self._executor.execute(prompt, run_id, data, outputs_to_run)
        finally:
            if self._kept is not None:
                self._kept.take_from(self._cache)
        return last_event(self._executor.status_messages)

    @property
    def outputs(self) -> dict[NodeId, dict[str, Any]]:
        """What each output node of the last run reported."""
        outputs: dict[NodeId, dict[str, Any]] = self._executor.history_result["outputs"]
        return outputs

    @property
    def loaded_models(self) -> LoadedModels:
        """The models that are kept for later runs."""
        return LoadedModels() if self._kept is None else self._kept.loaded

    def clear(self) -> None:
        """Drop every output and every node object that was kept."""
        if self._kept is not None:
            self._kept.clear()
        for cache in (self._cache, self._executor.caches.objects):
            cache.cache.clear()
            cache.subcaches.clear()


def make_executor(server: RunEvents, cache_lru: int, memory: Memory | None = None) -> Executor:
    """Build an executor.

    Args:
        cache_lru: Node outputs to keep, counted in nodes; 0 keeps those of the last prompt.
        memory: The memory that models of earlier prompts may fill; ``None`` keeps those of the
            last prompt.
    """
    execution = importlib.import_module("execution")
    kind = execution.CacheType.LRU if cache_lru else execution.CacheType.CLASSIC
    # Each release reads the sizes that it knows.
    sizes = {"lru": cache_lru, "ram": 0, "ram_inactive": 0}
    return Executor(execution.PromptExecutor(server, cache_type=kind, cache_args=sizes), memory)


def validate(prompt_id: str, prompt: dict[str, Any]) -> tuple[tuple[Refusal, ...], list[NodeId]]:
    """Validate a prompt as ComfyUI does, and its nodes that lead to no output as well.

    As in ComfyUI, values in the prompt become what their inputs declare: "5" an integer's 5.

    Returns:
        Everything that is wrong, and the output nodes to run.
    """
    execution = importlib.import_module("execution")
    linked = {
        value[0]
        for node in prompt.values()
        for value in node["inputs"].values()
        if isinstance(value, list) and value
    }

    async def check() -> tuple[tuple[Refusal, ...], list[NodeId]]:
        _, error, outputs, node_errors = await execution.validate_prompt(prompt_id, prompt, None)
        validated: dict[str, Any] = {}
        for node_id in prompt.keys() - linked - set(outputs):
            await execution.validate_inputs(prompt_id, prompt, node_id, validated)
        for node_id, (_, reasons, _) in validated.items():
            if reasons and node_id not in node_errors:
                node_errors[node_id] = {"errors": reasons}
        return all_refusals(error, node_errors), outputs

    return asyncio.run(check())


def interrupt() -> None:
    """Ask the running node to stop at its next step."""
    importlib.import_module("comfy.model_management").interrupt_current_processing(True)


def raise_interrupted() -> None:
    """Raise the exception by which ComfyUI stops a run."""
    raise importlib.import_module("comfy.model_management").InterruptProcessingException
