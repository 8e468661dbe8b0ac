"""The one seam: all that this project touches of ComfyUI's own modules.

Checked against ComfyUI 0.3.75. ComfyUI is a program rather than a library: its modules are
top-level names (``nodes``, ``execution``, ``server`` …) found through ``sys.path``, and they read
their options from ``sys.argv`` when first imported. Hence imports by name, here and nowhere else.
"""

from comfyui_runtime.in_process.comfy.arguments import make_imports_lazy, parse_arguments
from comfyui_runtime.in_process.comfy.classes import (
    checks_itself,
    input_spec,
    is_output_class,
    load_failure,
    modules_of_core_nodes,
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
    cuda_index,
    device_name,
    free_memory,
    import_torch,
)
from comfyui_runtime.in_process.comfy.execution import (
    import_execution,
    install_progress_hook,
    interrupt,
    make_executor,
    raise_interrupted,
    validate,
)
from comfyui_runtime.in_process.comfy.folders import (
    folder_roots,
    model_names,
    model_path,
    node_pack_paths,
    set_folders,
)
from comfyui_runtime.in_process.comfy.node_files import (
    LoopRunner,
    index_core_nodes,
    load_core_nodes,
    load_node_pack,
    outside_inference,
    register_nodes,
    run_prestartup_script,
)
from comfyui_runtime.in_process.comfy.server import CLIENT_ID, RunEvents, make_server
from comfyui_runtime.in_process.comfy.source import SUPPORTED_VERSION, check_source

__all__ = [
    "CLIENT_ID",
    "SUPPORTED_VERSION",
    "LoopRunner",
    "RunEvents",
    "check_source",
    "checks_itself",
    "cuda_index",
    "device_name",
    "folder_roots",
    "free_memory",
    "import_execution",
    "import_torch",
    "index_core_nodes",
    "input_folder",
    "input_spec",
    "install_progress_hook",
    "interrupt",
    "is_output_class",
    "load_core_nodes",
    "load_failure",
    "load_node_pack",
    "make_executor",
    "make_imports_lazy",
    "make_server",
    "model_folder_kinds",
    "model_names",
    "model_path",
    "modules_of_core_nodes",
    "node_class_names",
    "node_classes",
    "node_definitions",
    "node_pack_paths",
    "outside_inference",
    "paid_class_names",
    "parse_arguments",
    "raise_interrupted",
    "register_nodes",
    "run_prestartup_script",
    "set_folders",
    "validate",
]
