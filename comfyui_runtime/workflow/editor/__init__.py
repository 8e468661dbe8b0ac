"""From what ComfyUI's editor saves to a graph in API format, without an editor and a server."""

from comfyui_runtime.workflow.editor.convert import Conversion, PromotedInput, convert
from comfyui_runtime.workflow.editor.definitions import (
    InputDefinition,
    NodeDefinition,
    NodeDefinitions,
    parse_definitions,
)
from comfyui_runtime.workflow.editor.document import (
    EditorDocument,
    SavedNode,
    is_editor_format,
    parse_document,
)

__all__ = [
    "Conversion",
    "EditorDocument",
    "InputDefinition",
    "NodeDefinition",
    "NodeDefinitions",
    "PromotedInput",
    "SavedNode",
    "convert",
    "is_editor_format",
    "parse_definitions",
    "parse_document",
]
