"""HTTP calls to a ComfyUI server.

The calls are those of ComfyUI's own page (its ``server.py``), checked against ComfyUI 0.3.75.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote

import requests
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from comfyui_runtime.errors import ServerUnreachableError
from comfyui_runtime.run.outputs import MAX_IN_MEMORY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from comfyui_runtime.workflow.graph import NodeId

_Shape = TypeVar("_Shape")
_CHUNK_BYTES = 256 * 1024


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Validation(_Answer):
    """What ComfyUI's validation found wrong with a graph; nothing, where both are empty.

    Attributes:
        error: Its error for the whole graph.
        node_errors: Its errors by node.
    """

    error: dict[str, Any] | None = None
    node_errors: dict[str, dict[str, Any]] = Field(default_factory=dict)


class _Status(_Answer):
    messages: list[tuple[str, dict[str, Any]]]


class RunRecord(_Answer):
    """A run that has ended.

    Attributes:
        outputs: What each output node reported.
        status: Its ``messages`` are the executor's, in their order.
    """

    outputs: dict[str, dict[str, Any]]
    status: _Status


class NodeInfo(_Answer):
    """How a node class declares itself.

    Attributes:
        inputs: For each group (``required``, ``optional``) each input's ``[type, options]``.
    """

    inputs: dict[str, dict[str, Any]] = Field(alias="input")
    output_node: bool = False


class _Queue(_Answer):
    queue_running: list[list[Any]]
    queue_pending: list[list[Any]]


class _Uploaded(_Answer):
    name: str
    subfolder: str
    type: str


class _System(_Answer):
    comfyui_version: str


class _Stats(_Answer):
    system: _System


@dataclass(frozen=True)
class ServerAddress:
    """Where a ComfyUI server listens.

    Attributes:
        url: ``http://`` or ``https://`` address, without a slash at its end.
        timeout: Seconds for each call to connect, and for each wait for an answer's next bytes.
    """

    url: str
    timeout: float = 30.0


class ServerClient:
    """One connection to a ComfyUI server, for one thread. Use as a context manager.

    Every method raises ``ServerUnreachableError`` when the server does not answer as it should.
    """

    def __init__(self, address: ServerAddress) -> None:
        self._address = address
        self._session = requests.Session()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._session.close()

    def version(self) -> str:
        """Return the server's ComfyUI version."""
        return self._get("/system_stats", _Stats).system.comfyui_version

    def upload(self, name: str, data: bytes) -> str:
        """Store an image in the server's folder for temporary files.

        Returns:
            What ``LoadImage`` takes for it.
        """
        form = {"type": "temp", "overwrite": "true"}
        response = self._call("POST", "/upload/image", data=form, files={"image": (name, data)})
        stored = _parsed(_Uploaded, response)
        path = f"{stored.subfolder}/{stored.name}" if stored.subfolder else stored.name
        return f"{path} [{stored.type}]"

    def queue(
        self,
        prompt: Mapping[NodeId, Any],
        run_id: str,
        extra_data: Mapping[str, Any] | None = None,
    ) -> Validation:
        """Queue a graph in API format, its events to go to the socket opened under ``run_id``."""
        body = {
            "prompt": prompt,
            "prompt_id": run_id,
            "client_id": run_id,
            "extra_data": dict(extra_data or {}),
        }
        response = self._call("POST", "/prompt", json=body, allowed=HTTPStatus.BAD_REQUEST)
        return _parsed(Validation, response)

    def record(self, run_id: str) -> RunRecord | None:
        """Return a run's record, once it has ended."""
        return self._get(f"/history/{run_id}", dict[str, RunRecord]).get(run_id)

    def is_queued(self, run_id: str) -> bool:
        """Say whether a run waits or is under way."""
        queue = self._get("/queue", _Queue)
        return any(run_id in entry for entry in (*queue.queue_running, *queue.queue_pending))

    def stop(self, run_id: str) -> None:
        """Take a run out of the queue, or have it interrupted if it is under way."""
        self._call("POST", "/queue", json={"delete": [run_id]})
        self._call("POST", "/interrupt", json={"prompt_id": run_id})

    def fetch(self, filename: str, subfolder: str, folder: str) -> bytes | Path:
        """Return a file that a node wrote; ``folder`` is ``output`` or ``temp``.

        Returns:
            Its bytes; of a large one, a file that the caller removes.
        """
        place = {"filename": filename, "subfolder": subfolder, "type": folder}
        with self._call("GET", "/view", params=place, stream=True) as response:
            try:
                return _body(response)
            except requests.RequestException as error:
                raise ServerUnreachableError(
                    f"The ComfyUI server ended its answer with {filename} early. Send the job "
                    "again.",
                    reason=type(error).__name__,
                ) from error

    def node_info(self, class_type: str) -> NodeInfo | None:
        """Return how a node class declares itself, or ``None`` if there is no such class."""
        path = f"/object_info/{quote(class_type, safe='')}"
        return self._get(path, dict[str, NodeInfo]).get(class_type)

    def node_definition(self, class_type: str) -> dict[str, Any] | None:
        """Return all that a node class declares, or ``None`` if there is no such class."""
        path = f"/object_info/{quote(class_type, safe='')}"
        return self._get(path, dict[str, dict[str, Any]]).get(class_type)

    def _get(self, path: str, shape: type[_Shape]) -> _Shape:
        return _parsed(shape, self._call("GET", path))

    def _call(
        self,
        method: str,
        path: str,
        *,
        allowed: HTTPStatus | None = None,
        **what: Any,  # noqa: ANN401 - as requests takes it
    ) -> requests.Response:
        timeout = (self._address.timeout, self._address.timeout)
        try:
            response = self._session.request(
                method, self._address.url + path, timeout=timeout, **what
            )
        except requests.RequestException as error:
            raise ServerUnreachableError(
                "The ComfyUI server does not answer. Start it, or change COMFYUI_SERVER_URL; "
                "without that setting, ComfyUI runs in this process.",
                reason=type(error).__name__,
            ) from error
        if not response.ok and response.status_code != allowed:
            raise ServerUnreachableError(
                f"The ComfyUI server answered {method} {path} with status "
                f"{response.status_code}. Check its log and check COMFYUI_SERVER_URL.",
                status=response.status_code,
            )
        return response


def _body(response: requests.Response) -> bytes | Path:
    # Held in memory up to its limit.
    with tempfile.SpooledTemporaryFile(MAX_IN_MEMORY) as file:
        for chunk in response.iter_content(_CHUNK_BYTES):
            file.write(chunk)
        large = file.tell() > MAX_IN_MEMORY
        file.seek(0)
        if not large:
            return file.read()
        with tempfile.NamedTemporaryFile(prefix="comfyui-result-", delete=False) as kept:
            shutil.copyfileobj(file, kept, _CHUNK_BYTES)
        return Path(kept.name)


def _parsed(shape: type[_Shape], response: requests.Response) -> _Shape:
    try:
        return TypeAdapter(shape).validate_json(response.content)
    except ValidationError as error:
        raise ServerUnreachableError(
            "What answers at COMFYUI_SERVER_URL is not a ComfyUI server of a release that this "
            "project knows.",
        ) from error
