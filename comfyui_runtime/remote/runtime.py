"""Runs graphs on a ComfyUI server elsewhere, such as the one on a developer's desk.

For development: graphs, parameters and errors behave as in-process, and nothing boots. What needs
ComfyUI in the same process is missing: nodes that lead to no output are not validated, model files
are not checked by their headers, and there are no previews.
"""

from __future__ import annotations

import threading
import time
import uuid
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from comfyui_runtime.errors import GraphError, ServerUnreachableError
from comfyui_runtime.remote.catalog import KnownClasses, ServerCatalog
from comfyui_runtime.remote.client import ServerAddress, ServerClient
from comfyui_runtime.remote.socket import ServerSocket
from comfyui_runtime.remote.wait import ServerRun, wait_for_end
from comfyui_runtime.run.check import check_nodes, raise_refusal
from comfyui_runtime.run.messages import first_refusal, last_event
from comfyui_runtime.run.outputs import FileOutput, ImageOutput, Output, collect_outputs, in_order
from comfyui_runtime.run.picture_nodes import MASK_LOADER, takes_pictures, with_picture_nodes
from comfyui_runtime.run.runtime import RunResult, extra_data
from comfyui_runtime.run.watch import RunWatch
from comfyui_runtime.workflow.graph import Node
from comfyui_runtime.workflow.images import PixelImage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from comfyui_runtime.remote.client import RunRecord
    from comfyui_runtime.run.cancellation import Cancellation
    from comfyui_runtime.run.outputs import NamedFile
    from comfyui_runtime.run.progress import OnProgress
    from comfyui_runtime.workflow.files import FileUse
    from comfyui_runtime.workflow.graph import Graph
    from comfyui_runtime.workflow.patch import PatchedGraph


class ServerRuntime:
    """A ComfyUI server, used over HTTP and a web socket.

    Args:
        url: The server's ``http://`` or ``https://`` address.
        timeout: Seconds for each call to connect, and for each wait for an answer's next bytes.
        stop_grace: Seconds that the server has to stop a run, before the job ends without it.
    """

    def __init__(self, url: str, timeout: float = 30.0, stop_grace: float = 30.0) -> None:
        self._address = ServerAddress(url.rstrip("/"), timeout)
        self._stop_grace = stop_grace
        self._known = KnownClasses()
        self._lock = threading.Lock()
        self._busy_seconds = 0.0

    @property
    def broken(self) -> bool:
        """Never: the server is not this process's to replace."""
        return False

    @property
    def busy_seconds(self) -> float:
        """Seconds that the server took for the runs that have ended."""
        return self._busy_seconds

    @property
    def loaded_models(self) -> None:
        """Nothing: a server does not tell what it keeps."""
        return

    def node_classes(self) -> None:
        """Return nothing: a server tells its classes only with all their inputs, in megabytes."""

    def node_definitions(self, class_types: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return what node classes declare; see :class:`comfyui_runtime.run.runtime.Runtime`.

        Raises:
            ServerUnreachableError: The server does not answer.
        """
        with ServerClient(self._address) as client:
            found = {name: client.node_definition(name) for name in dict.fromkeys(class_types)}
        return {name: definition for name, definition in found.items() if definition is not None}

    def comfyui_version(self) -> str:
        """Return the server's ComfyUI version.

        Raises:
            ServerUnreachableError: It does not answer.
        """
        with ServerClient(self._address) as client:
            return client.version()

    def run(
        self,
        patched: PatchedGraph,
        cancellation: Cancellation,
        on_progress: OnProgress | None = None,
    ) -> RunResult:
        """Run a graph. Safe from any thread; the server queues runs in order.

        Args:
            cancellation: Stops the run at the running node's next step.
            on_progress: Called on the calling thread.

        Raises:
            GraphError: The graph is not valid; nothing was run.
            ModelError: A model file is missing.
            OutOfMemoryError: The server's device ran out of memory.
            NodeError: A node raised an exception.
            CancelledError: The run was cancelled.
            DeadlineError: The time was up.
            ServerUnreachableError: The server does not answer, or has lost the run.
        """
        cancellation.check()
        started = time.perf_counter()
        run_id = str(uuid.uuid4())
        watch = RunWatch(patched.graph, cancellation, on_progress)
        with ServerClient(self._address) as client:
            catalog = ServerCatalog(client, self._known)
            graph = with_picture_nodes(patched, run_id, _ServerPictures(client, catalog))
            check_nodes(graph, catalog, patched.node_packs)
            with ServerSocket(self._address, run_id) as socket:
                answer = client.queue(graph.to_api(), run_id, extra_data(patched))
                if answer.node_errors and answer.error is None:
                    # ComfyUI would run the valid outputs; any node's error is the graph's.
                    client.stop(run_id)
                refusal = first_refusal(answer.error, answer.node_errors)
                raise_refusal(graph, catalog, refusal)
                queued = time.perf_counter()
                run = ServerRun(run_id, client, socket, watch)
                record = wait_for_end(run, cancellation, self._stop_grace)
            ended = time.perf_counter()
            watch.raise_failure(last_event(record.status.messages))
            outputs = _outputs(record, patched.graph, client)
        run_seconds = _run_seconds(record)
        with self._lock:
            self._busy_seconds += run_seconds
        return RunResult(
            outputs=outputs,
            cached_nodes=tuple(watch.cached_nodes),
            node_seconds=watch.node_seconds,
            validate_seconds=queued - started,
            run_seconds=run_seconds,
            queue_seconds=max(0.0, ended - queued - run_seconds),
        )


class _ServerPictures:
    """Pictures go to the server and come back as files in its folder for temporary ones."""

    def __init__(self, client: ServerClient, catalog: ServerCatalog) -> None:
        self._client = client
        self._catalog = catalog

    def input_node(self, node: Node, image: PixelImage) -> Node:
        name = self._client.upload(f"{image.digest}.png", _png(image))
        if node.class_type == MASK_LOADER:
            return Node(MASK_LOADER, {**node.inputs, "image": name}, node.title)
        return Node("LoadImage", {"image": name}, node.title)

    def file_node(self, node: Node, use: FileUse) -> Node:
        if use.loader.by_path:
            raise GraphError(
                f"The class {node.class_type} takes a path of ComfyUI's own machine: it runs "
                "where ComfyUI is in this process, not with COMFYUI_SERVER_URL.",
                class_type=node.class_type,
            )
        name = self._client.upload(use.file.name, use.file.path.read_bytes())
        return Node(node.class_type, {**node.inputs, use.loader.input: name}, node.title)

    def output_node(self, node: Node) -> Node:
        return Node("PreviewImage", {"images": node.inputs["images"]}, node.title)

    def is_output(self, class_type: str) -> bool:
        return self._catalog.is_output(class_type)


def _png(image: PixelImage) -> bytes:
    file = BytesIO()
    Image.fromarray(image.pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _outputs(record: RunRecord, graph: Graph, client: ServerClient) -> tuple[Output, ...]:
    def read(entry: object) -> NamedFile | None:
        match entry:
            case {"filename": str() as name, "type": "output" | "temp" as folder, **more}:
                return name, client.fetch(name, str(more.get("subfolder", "")), folder)
            case _:
                return None

    files = collect_outputs(record.outputs, read)
    outputs = [_as_picture(file, graph) for file in files]
    return in_order(outputs)


def _as_picture(output: Output, graph: Graph) -> Output:
    node = graph.nodes.get(output.node_id)
    if not isinstance(output, FileOutput) or node is None or not takes_pictures(node):
        return output
    file = BytesIO(output.data) if isinstance(output.data, bytes) else output.data
    try:
        with Image.open(file) as picture:
            pixels = np.asarray(picture.convert("RGBA" if picture.has_transparency_data else "RGB"))
    except OSError as error:
        raise ServerUnreachableError(
            f"The ComfyUI server sent {output.name} damaged. Send the job again."
        ) from error
    finally:
        output.discard()
    return ImageOutput(output.node_id, PixelImage(pixels))


def _run_seconds(record: RunRecord) -> float:
    """Return the seconds between the executor's first and last message; it dates them in ms."""
    times = [_milliseconds(data) for _, data in record.status.messages]
    return max(0.0, (times[-1] - times[0]) / 1000.0) if times else 0.0


def _milliseconds(data: Mapping[str, Any]) -> float:
    return float(data.get("timestamp", 0.0))
