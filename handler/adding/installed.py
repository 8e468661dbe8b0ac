"""What the installation offers that a workflow is checked against."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from comfyui_runtime.workflow.editor import NodeDefinition


@dataclass(frozen=True)
class Installed:
    """What is installed.

    Attributes:
        definitions: What the installed node classes declare.
        paid: Classes that call paid services, installed or not.
        manager_map: For each class, the repository that ComfyUI-Manager's map gives.
        failures: For classes whose file does not import, why.
    """

    definitions: Mapping[str, NodeDefinition]
    paid: frozenset[str] = frozenset()
    manager_map: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
