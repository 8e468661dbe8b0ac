"""The one seam: only here are modules, options and errors of ComfyUI named.

Its messages about a run, which a server elsewhere sends too, are read in
:mod:`comfyui_runtime.run.messages`.

What differs between releases is found by looking at what is there, never by a release's number.
ComfyUI is a program rather than a library: its modules are
top-level names (``nodes``, ``execution``, ``server`` …) found through ``sys.path``, and they read
their options from ``sys.argv`` when first imported. Hence imports by name.
"""

from comfyui_runtime.in_process.comfy.arguments import (
    command_line,
    make_imports_lazy,
    parse_arguments,
)
from comfyui_runtime.in_process.comfy.classes import (
    checks_itself,
    core_classes_by_file,
    declared_default,
    input_specs,
    is_output_class,
    load_failure,
    node_class_names,
    node_classes,
)
from comfyui_runtime.in_process.comfy.definitions import (
    input_folder,
    model_folder_kinds,
    node_definitions,
    paid_class_names,
)
from comfyui_runtime.in_process.comfy.device import (
    device_name,
    free_memory,
    import_torch,
    unload_models,
)
from comfyui_runtime.in_process.comfy.execution import (
    Executor,
    import_execution,
    install_progress_hook,
    interrupt,
    make_executor,
    raise_interrupted,
    validate,
)
from comfyui_runtime.in_process.comfy.folders import (
    add_model_dirs,
    folder_roots,
    model_path,
    node_pack_paths,
    set_folders,
)
from comfyui_runtime.in_process.comfy.kept_models import Memory
from comfyui_runtime.in_process.comfy.node_files import (
    LoopRunner,
    index_core_nodes,
    index_node_pack,
    load_core_nodes,
    load_node_pack,
    load_packs_when_routes_are_asked_for,
    outside_inference,
    register_nodes,
    run_prestartup_script,
)
from comfyui_runtime.in_process.comfy.observation import Observer
from comfyui_runtime.in_process.comfy.replacements import replace_nodes
from comfyui_runtime.in_process.comfy.server import (
    QueuedPrompt,
    RunEvents,
    make_server,
    take_prompt,
)
from comfyui_runtime.in_process.comfy.source import Source, check_source, read_source
from comfyui_runtime.in_process.comfy.startup import (
    add_extra_model_paths,
    before_torch,
    enable_dynamic_vram,
    importing_packs,
)
from comfyui_runtime.in_process.comfy.stock_modules import offer_stock_modules

__all__ = [
    "Executor",
    "LoopRunner",
    "Memory",
    "Observer",
    "QueuedPrompt",
    "RunEvents",
    "Source",
    "add_extra_model_paths",
    "add_model_dirs",
    "before_torch",
    "check_source",
    "checks_itself",
    "command_line",
    "core_classes_by_file",
    "declared_default",
    "device_name",
    "enable_dynamic_vram",
    "folder_roots",
    "free_memory",
    "import_execution",
    "import_torch",
    "importing_packs",
    "index_core_nodes",
    "index_node_pack",
    "input_folder",
    "input_specs",
    "install_progress_hook",
    "interrupt",
    "is_output_class",
    "load_core_nodes",
    "load_failure",
    "load_node_pack",
    "load_packs_when_routes_are_asked_for",
    "make_executor",
    "make_imports_lazy",
    "make_server",
    "model_folder_kinds",
    "model_path",
    "node_class_names",
    "node_classes",
    "node_definitions",
    "node_pack_paths",
    "offer_stock_modules",
    "outside_inference",
    "paid_class_names",
    "parse_arguments",
    "raise_interrupted",
    "read_source",
    "register_nodes",
    "replace_nodes",
    "run_prestartup_script",
    "set_folders",
    "take_prompt",
    "unload_models",
    "validate",
]
