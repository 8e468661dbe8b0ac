"""Uses modules that it does not import, as ComfyUI's start has imported them."""

import app
import comfy
import comfy_execution
import comfy_extras

PATCHER = comfy.model_patcher.ModelPatcher
ATTENTION = comfy.ldm.modules.attention.optimized_attention
GRAPH = comfy_execution.graph_utils.GraphBuilder
MASKS = comfy_extras.nodes_mask
LOGGER = app.logger.setup_logger
NONE = getattr(comfy, "no_such_module", None)
# A pack that exchanges what others rely on.
KEPT = comfy.model_management.cast_to
comfy.model_management.cast_to = None

NODE_CLASS_MAPPINGS = {}
