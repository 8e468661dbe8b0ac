"""The node classes of a ComfyUI server."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfyui_runtime.remote.client import NodeInfo, ServerClient
    from comfyui_runtime.run.check import InputSpec

_KEPT_SECONDS = 30.0
_UPLOADS = ("image_upload", "video_upload", "audio_upload", "animated_image_upload", "file_upload")


class KnownClasses:
    """Remembers node classes for a short time only, since lists of model files change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, NodeInfo]] = {}

    def find(self, client: ServerClient, class_type: str) -> NodeInfo | None:
        """Return how a class declares itself, or ``None`` if there is no such class."""
        with self._lock:
            asked_at, info = self._known.get(class_type, (float("-inf"), None))
        if time.monotonic() - asked_at < _KEPT_SECONDS:
            return info
        info = client.node_info(class_type)
        if info is not None:
            with self._lock:
                self._known[class_type] = time.monotonic(), info
        return info


class ServerCatalog:
    """A server's node classes, as :class:`comfyui_runtime.run.check.NodeCatalog`."""

    def __init__(self, client: ServerClient, known: KnownClasses) -> None:
        self._client = client
        self._known = known

    def has(self, class_type: str) -> bool:
        """Say whether the server has the class."""
        return self._find(class_type) is not None

    def is_output(self, class_type: str) -> bool:
        """Say whether the class is one that ComfyUI starts from."""
        info = self._find(class_type)
        return info is not None and info.output_node

    def load_failure(self, class_type: str) -> None:
        """Return nothing: a server does not say why a class is missing."""
        del class_type

    def input_specs(self, class_type: str) -> dict[str, InputSpec]:
        """Return how a class declares its inputs, by their names."""
        info = self._find(class_type)
        declared = {} if info is None else info.inputs
        groups = (declared.get("optional", {}), declared.get("required", {}))
        return {
            name: tuple(spec)
            for group in groups
            for name, spec in group.items()
            if isinstance(spec, list | tuple)
        }

    def is_checked(self, class_type: str, input_name: str) -> bool:
        """Say whether the server checks an input.

        It does where choices are declared as a list, and where they are the files in a folder that
        files are uploaded to.
        """
        spec = self.input_specs(class_type).get(input_name)
        if spec is None:
            return False
        options = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
        return isinstance(spec[0], list) or any(map(options.get, _UPLOADS))

    def _find(self, class_type: str) -> NodeInfo | None:
        return self._known.find(self._client, class_type)
