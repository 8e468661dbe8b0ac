"""ComfyUI's validation and executor, its progress, and how a run is stopped."""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def import_execution() -> None:
    """Import ComfyUI's executor, its core nodes and its server's module."""
    for name in ("comfy.utils", "execution", "server", "nodes", "comfy.model_management"):
        importlib.import_module(name)


def install_progress_hook(hook: Callable[[int, int, Any, str | None], None]) -> None:
    """Have ``hook(value, total, preview, node_id)`` called at each step that a node reports."""
    context = importlib.import_module("comfy_execution.utils")
    progress = importlib.import_module("comfy_execution.progress")
    management = importlib.import_module("comfy.model_management")

    def on_step(
        value: int,
        total: int,
        preview: Any,  # noqa: ANN401 - (format, PIL image, maximum size) or None
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
        hook(value, total, preview, node_id)

    importlib.import_module("comfy.utils").set_progress_bar_global_hook(on_step)


def make_executor(server: Any, cache_lru: int) -> Any:  # noqa: ANN401 - ComfyUI classes
    """Build the executor whose cache of node outputs lives from job to job."""
    execution = importlib.import_module("execution")
    kind = execution.CacheType.LRU if cache_lru else execution.CacheType.CLASSIC
    return execution.PromptExecutor(
        server, cache_type=kind, cache_args={"lru": cache_lru, "ram": 0}
    )


def validate(prompt_id: str, prompt: dict[str, Any]) -> tuple[Any, list[str], dict[str, Any]]:
    """Validate a prompt as ComfyUI does, and its nodes that lead to no output as well.

    Returns:
        ComfyUI's error for the whole prompt or ``None``, the output nodes to run, and the errors
        by node id.
    """
    execution = importlib.import_module("execution")
    linked = {
        value[0]
        for node in prompt.values()
        for value in node["inputs"].values()
        if isinstance(value, list) and value
    }

    async def check() -> tuple[Any, list[str], dict[str, Any]]:
        _, error, outputs, node_errors = await execution.validate_prompt(prompt_id, prompt, None)
        validated: dict[str, Any] = {}
        for node_id in prompt.keys() - linked - set(outputs):
            await execution.validate_inputs(prompt_id, prompt, node_id, validated)
        for node_id, (_, reasons, _) in validated.items():
            if reasons and node_id not in node_errors:
                node_errors[node_id] = {"errors": reasons}
        return error, outputs, node_errors

    return asyncio.run(check())


def interrupt() -> None:
    """Ask the running node to stop at its next step."""
    importlib.import_module("comfy.model_management").interrupt_current_processing(True)


def raise_interrupted() -> None:
    """Raise the exception by which ComfyUI stops a run."""
    raise importlib.import_module("comfy.model_management").InterruptProcessingException
