"""ComfyUI's options, and which of its modules are executed only when they are used."""

from __future__ import annotations

import ast
import contextlib
import difflib
import importlib
import io
import sys
from typing import TYPE_CHECKING

from comfyui_runtime.errors import BootError
from comfyui_runtime.in_process.comfy.lazy_imports import LazyImports
from comfyui_runtime.in_process.comfy.node_files import (
    load_packs_when_routes_are_asked_for,
    outside_inference,
)
from comfyui_runtime.in_process.comfy.server import RunEvents, make_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from comfyui_runtime.in_process.options import BootOptions, VramMode

# Executed when a graph first needs them; together they take three quarters of ComfyUI's start.
_LAZY_MODULES = (
    # ComfyUI's own, with every model architecture, text encoder and sampler behind them.
    "comfy.clip_vision",
    "comfy.controlnet",
    "comfy.diffusers_load",
    "comfy.hooks",
    "comfy.lora",
    "comfy.model_base",
    "comfy.sample",
    "comfy.samplers",
    "comfy.sd",
    "latent_preview",
    # The web server; a few nodes and many packs send messages through it.
    "server",
    # What those import for one sampler, one scheduler, or one kind of model.
    "scipy.integrate",
    "scipy.stats",
    "torchsde",
    "torchvision",
    "torchvision.transforms",
    # The compiler; comfy-kitchen and torchvision name it.
    "torch._dynamo",
    "torch._dynamo.utils",
    # Transformers names it, for models spread over several machines.
    "torch.distributed.tensor",
    # Files of sound; every release from 0.17 on names it where pictures are saved.
    "torchaudio",
)

# Taken by name where the executor, the previews or torchvision are imported, and only called.
_CALLED_LATER = {
    "comfy.model_patcher": {"is_model_patcher_output": "comfy_execution.caching"},
    "comfy.sd": {"VAE": "latent_preview"},
    "latent_preview": {"set_preview_method": "execution"},
    "torch._dynamo.utils": {"is_compile_supported": "torchvision.ops.roi_align"},
}

_NO_API_NODES = ("--disable-partner-nodes", "--disable-api-nodes")

_VRAM_FLAGS: dict[VramMode, tuple[str, ...]] = {
    "auto": (),
    "high": ("--highvram",),
    "normal": ("--normalvram",),
    "low": ("--lowvram",),
    "none": ("--novram",),
}


def make_imports_lazy(events: RunEvents, route_packs: Sequence[Path] = ()) -> None:
    """Have ComfyUI's large parts, and libraries that few graphs need, executed at first use.

    Args:
        route_packs: Packs that are loaded when someone looks through the server's routes; read
            then.
    """

    def on_server() -> None:
        make_server(events)
        load_packs_when_routes_are_asked_for(route_packs)

    LazyImports(
        _LAZY_MODULES,
        around=outside_inference,
        after={"server": on_server},
        called_later=_CALLED_LATER,
    ).install()


def command_line(options: BootOptions, web_root: Path) -> list[str]:
    """Return the arguments for ComfyUI's own parser, of which releases know different ones.

    Args:
        web_root: An empty folder; it keeps ComfyUI from looking for its front end.
    """
    known = known_options(options.comfyui_dir)

    def first_known(*flags: str) -> list[str]:
        return [flag for flag in flags if flag in known][:1]

    return [
        "--base-directory",
        str(options.base_dir),
        "--front-end-root",
        str(web_root),
        "--database-url",
        "sqlite:///:memory:",
        # Graphs may hold other people's prompts; a caller that wants its own embedded asks for it.
        "--disable-metadata",
        "--preview-method",
        "latent2rgb" if options.previews else "none",
        *([] if options.api_nodes else first_known(*_NO_API_NODES)),
        # ComfyUI would look through its folders for a database that is not kept.
        *first_known("--disable-assets-autoscan"),
        *(("--cpu",) if options.device == "cpu" else ()),
        *first_known(*_VRAM_FLAGS[options.vram_mode]),
        *(("--cache-lru", str(options.cache_lru)) if options.cache_lru else ()),
        *options.extra_args,
    ]


def known_options(comfyui_dir: Path) -> frozenset[str]:
    """Return the options that ComfyUI's parser declares, such as ``--cpu``; nothing is imported."""
    tree = ast.parse((comfyui_dir / "comfy" / "cli_args.py").read_bytes())
    return frozenset(
        argument.value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "add_argument"
        for argument in call.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    )


def parse_arguments(argv: list[str], options: BootOptions) -> None:
    """Have ComfyUI read its options from ``argv`` in place of the caller's.

    Args:
        options: What ``argv`` was made of.

    Raises:
        BootError: ComfyUI refuses an option, or two that exclude each other; the message has its
            parser's words and says what to change.
    """
    importlib.import_module("comfy.options").enable_args_parsing()
    printed, complaint = io.StringIO(), io.StringIO()
    with (
        _argv([sys.argv[0] if sys.argv else "", *argv]),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(complaint),
    ):
        try:
            importlib.import_module("comfy.cli_args")
        except SystemExit as error:
            last_line = complaint.getvalue().strip().rpartition("\n")[2]
            raise BootError(_refused(last_line, options)) from error
    # ComfyUI's "utils" must be imported before torch and others put their own on the path.
    importlib.import_module("utils.extra_config")


def _refused(last_line: str, options: BootOptions) -> str:
    if not last_line:
        return "COMFYUI_ARGS has an option that prints and ends, such as --help. Take it out."
    known = known_options(options.comfyui_dir)
    given = [text.partition("=")[0] for text in options.extra_args if text.startswith("--")]
    unknown = [flag for flag in given if flag not in known]
    advice = ["Check COMFYUI_ARGS, and that it and COMFYUI_VRAM_MODE do not exclude each other."]
    if unknown:
        advice = [f"This release does not know {', '.join(unknown)}: take it out of COMFYUI_ARGS."]
        similar = difflib.get_close_matches(unknown[0], known, n=1)
        advice += [f"It knows {similar[0]}."] if similar else []
    return f"ComfyUI refuses its options: {last_line}. {' '.join(advice)}"


@contextlib.contextmanager
def _argv(argv: list[str]) -> Iterator[None]:
    kept = sys.argv
    sys.argv = argv
    try:
        yield
    finally:
        sys.argv = kept
