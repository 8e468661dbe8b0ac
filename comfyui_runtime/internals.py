"""All that this project touches of ComfyUI's own modules; moving the pin means reading this file.

Checked against ComfyUI 0.3.75. ComfyUI is a program rather than a library: its modules are
top-level names (``nodes``, ``execution``, ``server`` …) found through ``sys.path``, and they read
their options from ``sys.argv`` when first imported. Hence imports by name, here and nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import importlib.util
import inspect
import io
import logging
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfyui_runtime.errors import BootError, NoGpuError
from comfyui_runtime.lazy_imports import LazyImports
from comfyui_runtime.node_classes import LazyNodeClasses
from comfyui_runtime.node_index import read_node_index

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping
    from types import ModuleType

    from comfyui_runtime.options import BootOptions

SUPPORTED_VERSION = "0.3.75"
CLIENT_ID = "in-process"
_TOP_LEVEL_NAMES = ("comfy", "nodes", "execution", "server", "folder_paths", "utils", "app")

# Executed when a graph first needs them; together they take three quarters of ComfyUI's start.
_LAZY_MODULES = (
    # ComfyUI's own, with every model architecture, text encoder and sampler behind them.
    "comfy.clip_vision",
    "comfy.controlnet",
    "comfy.diffusers_load",
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
    # Transformers names it, for models spread over several machines.
    "torch.distributed.tensor",
)

log = logging.getLogger(__name__)


def check_source(comfyui_dir: Path) -> str:
    """Return the version of the ComfyUI in a folder.

    Raises:
        BootError: There is none, it is another version than this module was checked against, or
            other modules have its names in this process.
    """
    try:
        text = (comfyui_dir / "comfyui_version.py").read_text()
    except OSError as error:
        raise BootError(
            f"There is no ComfyUI in {comfyui_dir}. Run ./provision.sh, or set COMFYUI_DIR."
        ) from error
    version = text.partition("__version__ = ")[2].strip().strip('"')
    if version != SUPPORTED_VERSION:
        raise BootError(
            f"{comfyui_dir} holds ComfyUI {version}; this worker is made for {SUPPORTED_VERSION}."
        )
    taken = [name for name in _TOP_LEVEL_NAMES if name in sys.modules]
    if taken:
        raise BootError(
            f"Modules named {', '.join(taken)} are imported already; ComfyUI needs these names."
        )
    return version


def make_imports_lazy(events: RunEvents) -> None:
    """Have ComfyUI's large parts, and libraries that few graphs need, executed at first use."""
    LazyImports(
        _LAZY_MODULES, around=_outside_inference, after={"server": lambda: make_server(events)}
    ).install()


def parse_arguments(argv: list[str]) -> None:
    """Have ComfyUI read its options from ``argv`` in place of the caller's.

    Raises:
        BootError: ComfyUI refuses an option; the message is its parser's.
    """
    options = importlib.import_module("comfy.options")
    options.enable_args_parsing()
    complaint = io.StringIO()
    with _argv([sys.argv[0] if sys.argv else "", *argv]), contextlib.redirect_stderr(complaint):
        try:
            importlib.import_module("comfy.cli_args")
        except SystemExit as error:
            last_line = complaint.getvalue().strip().rpartition("\n")[2]
            raise BootError(
                f"ComfyUI refuses its options: {last_line}. Check COMFYUI_ARGS."
            ) from error
    # ComfyUI's "utils" must be imported before torch and others put their own on the path.
    importlib.import_module("utils.extra_config")


def set_folders(options: BootOptions, scratch: Path) -> None:
    """Tell ComfyUI where models are, and where files of a run go."""
    folder_paths = importlib.import_module("folder_paths")
    for name in ("input", "output", "temp", "user"):
        (scratch / name).mkdir(parents=True, exist_ok=True)
    folder_paths.set_input_directory(str(scratch / "input"))
    folder_paths.set_output_directory(str(scratch / "output"))
    folder_paths.set_temp_directory(str(scratch / "temp"))
    folder_paths.set_user_directory(str(scratch / "user"))
    models_root = options.base_dir / "models"
    kinds = [kind for kind in folder_paths.folder_names_and_paths if kind != "custom_nodes"]
    for model_dir in options.model_dirs:
        if not model_dir.is_dir():
            continue
        for kind in kinds:
            for path in list(folder_paths.get_folder_paths(kind)):
                with contextlib.suppress(ValueError):
                    relative = _relative(path, models_root)
                    folder_paths.add_model_folder_path(kind, str(model_dir / relative))
    tagger_dirs = [root / "wd14_tagger" for root in (models_root, *options.model_dirs)]
    folder_paths.folder_names_and_paths["wd14_tagger"] = (
        [str(path) for path in tagger_dirs],
        {".onnx"},
    )


def import_torch(device: str) -> str:
    """Import torch, with the allocator that ComfyUI chooses, and return its version.

    Raises:
        NoGpuError: ``device`` is ``cuda`` and torch sees no GPU.
    """
    if device == "cuda":
        importlib.import_module("cuda_malloc")
    torch = importlib.import_module("torch")
    if device == "cuda" and not torch.cuda.is_available():
        raise NoGpuError(
            "No CUDA GPU is visible to this worker. Give it one (--gpus all, or the platform's GPU "
            "setting) and check that the driver fits CUDA "
            f"{torch.version.cuda}, or set COMFYUI_DEVICE=cpu to run on the CPU."
        )
    return str(torch.__version__)


def import_execution() -> None:
    """Import ComfyUI's executor, its core nodes and its server's module."""
    for name in ("comfy.utils", "execution", "server", "nodes", "comfy.model_management"):
        importlib.import_module(name)


class LoopRunner:
    """Runs coroutines of ComfyUI's start-up; the loop never runs again afterwards."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - ComfyUI's own
        """Run a coroutine to its end."""
        return self.loop.run_until_complete(coroutine)

    def close(self) -> None:
        """Close the loop."""
        self.loop.close()


class RunEvents:
    """What ComfyUI's executor needs of a server: somewhere to send its events.

    Attributes:
        sink: Takes each event, as ``(event, data)``; without it they are dropped.
        client_id: Whose run it is; set by the executor, as is the next one.
        last_node_id: The node that runs.
        sockets_metadata: What each client can read; there are none.
    """

    def __init__(self) -> None:
        self.sink: Callable[[object, Any], None] | None = None
        self.client_id: str | None = None
        self.last_node_id: str | None = None
        self.sockets_metadata: dict[str, object] = {}

    def send_sync(self, event: object, data: object, sid: object = None) -> None:
        """Take an event of the executor's or of a node's."""
        del sid
        if self.sink is not None:
            self.sink(event, data)


def make_server(events: RunEvents) -> None:
    """Build the ``PromptServer`` that node packs expect, listening nowhere.

    Its events go to ``events`` in place of web sockets: without a reader, ComfyUI's own queue
    would grow with every event. ComfyUI keeps it as ``PromptServer.instance``.
    """
    base: Any = importlib.import_module("server").PromptServer

    class InProcessPromptServer(base):  # type: ignore[misc]
        """ComfyUI's server without sockets."""

        @property
        def client_id(self) -> str | None:
            return events.client_id

        @client_id.setter
        def client_id(self, value: str | None) -> None:
            events.client_id = value

        @property
        def last_node_id(self) -> str | None:
            return events.last_node_id

        @last_node_id.setter
        def last_node_id(self, value: str | None) -> None:
            events.last_node_id = value

        def send_sync(self, event: object, data: object, sid: object = None) -> None:
            events.send_sync(event, data, sid)

        def queue_updated(self) -> None:
            pass

    loop = asyncio.new_event_loop()
    loop.close()
    InProcessPromptServer(loop)


def load_core_nodes(runner: LoopRunner, *, api_nodes: bool) -> list[str]:
    """Load ``comfy_extras`` (and the API nodes); return the files that did not import."""
    nodes = importlib.import_module("nodes")
    runner.run(nodes.init_public_apis())
    failed = list(runner.run(nodes.init_builtin_extra_nodes()))
    if api_nodes:
        failed += runner.run(nodes.init_builtin_api_nodes())
    return failed


def index_core_nodes(runner: LoopRunner, *, api_nodes: bool) -> None:
    """Have the files of ``comfy_extras`` (and the API nodes) loaded when a class is asked for."""
    nodes: Any = importlib.import_module("nodes")
    runner.run(nodes.init_public_apis())
    # Replaced before anything but ComfyUI's own modules, which look it up by name, can hold it.
    nodes.NODE_CLASS_MAPPINGS = LazyNodeClasses(
        nodes.NODE_CLASS_MAPPINGS,
        read_node_index().files_by_class(api_nodes=api_nodes),
        _load_core_file,
    )


def _load_core_file(file: str) -> str | None:
    nodes: Any = importlib.import_module("nodes")
    path = Path(nodes.__file__).parent / file
    loading = nodes.load_custom_node(
        str(path), nodes.NODE_CLASS_MAPPINGS.loaded_names(), module_parent=path.parent.name
    )
    with _captured_warnings() as warnings, _outside_inference():
        loaded = _run_to_end(loading)
    return None if loaded else _reason(warnings)


def register_nodes(module: ModuleType) -> None:
    """Register a module's node classes with ComfyUI."""
    nodes = importlib.import_module("nodes")
    nodes.NODE_CLASS_MAPPINGS.update(module.NODE_CLASS_MAPPINGS)
    nodes.NODE_DISPLAY_NAME_MAPPINGS.update(module.NODE_DISPLAY_NAME_MAPPINGS)


def node_pack_paths() -> list[Path]:
    """Return the folders and files below ``custom_nodes`` that are node packs, sorted by name."""
    folder_paths = importlib.import_module("folder_paths")
    roots = [Path(path) for path in folder_paths.get_folder_paths("custom_nodes")]
    return sorted(
        path
        for root in roots
        if root.is_dir()
        for path in root.iterdir()
        if (path.suffix == ".py" if path.is_file() else _is_pack(path))
    )


def run_prestartup_script(pack: Path) -> None:
    """Run a pack's ``prestartup_script.py`` where it has one; it may raise anything."""
    script = pack / "prestartup_script.py"
    if not script.is_file():
        return
    spec = importlib.util.spec_from_file_location(str(script.with_suffix("")), script)
    if spec is None or spec.loader is None:
        raise ImportError(f"{script} cannot be loaded")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def load_node_pack(runner: LoopRunner, pack: Path) -> str | None:
    """Load a node pack; return why it failed, or ``None``."""
    nodes = importlib.import_module("nodes")
    core = set(node_class_names())
    with _captured_warnings() as warnings:
        loaded = runner.run(nodes.load_custom_node(str(pack), core, module_parent="custom_nodes"))
    return None if loaded else _reason(warnings)


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


def node_classes() -> Mapping[str, Any]:
    """Return every registered node class by its ``class_type``."""
    classes: Mapping[str, Any] = importlib.import_module("nodes").NODE_CLASS_MAPPINGS
    return classes


def node_class_names() -> frozenset[str]:
    """Return the ``class_type`` of every node class, without loading any."""
    classes = node_classes()
    return classes.known_names() if isinstance(classes, LazyNodeClasses) else frozenset(classes)


def modules_of_core_nodes() -> dict[str, str]:
    """Return for each class of ComfyUI's node files ``<folder>.<file without .py>``."""
    modules = {
        class_type: str(getattr(node_class, "RELATIVE_PYTHON_MODULE", ""))
        for class_type, node_class in node_classes().items()
    }
    return {
        class_type: module
        for class_type, module in modules.items()
        if module.startswith(("comfy_extras.", "comfy_api_nodes."))
    }


def load_failure(class_type: str) -> str | None:
    """Return why ComfyUI's own file that defines a node class does not import, if that is so."""
    classes = node_classes()
    return classes.failure(class_type) if isinstance(classes, LazyNodeClasses) else None


def input_spec(class_type: str, input_name: str) -> tuple[Any, ...] | None:
    """Return how a node class declares an input, ``(type or choices, options)``, if it does."""
    inputs = node_classes()[class_type].INPUT_TYPES()
    for group in ("required", "optional"):
        if input_name in inputs.get(group, {}):
            return tuple(inputs[group][input_name])
    return None


def checks_itself(class_type: str, input_name: str) -> bool:
    """Say whether a node class checks that input itself, as ``LoadImage`` does its file name."""
    own_check = getattr(node_classes()[class_type], "VALIDATE_INPUTS", None)
    return own_check is not None and input_name in inspect.signature(own_check).parameters


def is_output_class(class_type: str) -> bool:
    """Say whether a node class is one that ComfyUI starts from."""
    return getattr(node_classes().get(class_type), "OUTPUT_NODE", False) is True


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


def free_memory() -> None:
    """Collect garbage and give the allocator's unused blocks back to the device."""
    gc.collect()
    importlib.import_module("comfy.model_management").soft_empty_cache()


def folder_roots(kind: str) -> list[str]:
    """Return the folders in which ComfyUI looks for a kind of model."""
    return list(importlib.import_module("folder_paths").get_folder_paths(kind))


def model_path(kind: str, name: str) -> Path | None:
    """Return where ComfyUI finds a model file, or ``None``."""
    path = importlib.import_module("folder_paths").get_full_path(kind, name)
    return None if path is None else Path(path)


def model_names(kind: str) -> list[str]:
    """Return the names under which nodes offer the model files of a kind."""
    return list(importlib.import_module("folder_paths").get_filename_list(kind))


def cuda_index() -> int | None:
    """Return the index of the CUDA device that graphs run on; ``None`` on the CPU."""
    device = importlib.import_module("comfy.model_management").get_torch_device()
    return int(device.index or 0) if device.type == "cuda" else None


def device_name() -> str:
    """Return the name of the device that graphs run on."""
    management = importlib.import_module("comfy.model_management")
    return str(management.get_torch_device_name(management.get_torch_device()))


@contextlib.contextmanager
def _argv(argv: list[str]) -> Iterator[None]:
    kept = sys.argv
    sys.argv = argv
    try:
        yield
    finally:
        sys.argv = kept


@contextlib.contextmanager
def _captured_warnings() -> Iterator[list[str]]:
    """Collect what ComfyUI logs as warnings: it reports a pack's failure in no other way."""
    messages: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    collector = Collector(logging.WARNING)
    thread = threading.get_ident()
    collector.addFilter(lambda record: record.thread == thread)
    logging.getLogger().addHandler(collector)
    try:
        yield messages
    finally:
        logging.getLogger().removeHandler(collector)


def _reason(warnings: list[str]) -> str:
    return warnings[-1] if warnings else "ComfyUI gave no reason"


@contextlib.contextmanager
def _outside_inference() -> Iterator[None]:
    """Undo inference mode, which graphs run in: what a module makes must be of use in training."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    with torch.inference_mode(mode=False):
        yield


def _run_to_end(coroutine: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - ComfyUI's own
    """Run a coroutine that waits for nothing, with or without a loop running in this thread."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise RuntimeError(f"{coroutine!r} waits for something; it needs an event loop.")


def _relative(path: str, root: Path) -> Path:
    return Path(path).resolve().relative_to(root.resolve())


def _is_pack(path: Path) -> bool:
    return path.name != "__pycache__" and path.suffix != ".disabled"
