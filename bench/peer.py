"""A job as server-based workers run it: ComfyUI's server over HTTP and a web socket."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass

from comfyui_runtime.errors import GraphError
from comfyui_runtime.remote.client import RunRecord, ServerAddress, ServerClient
from comfyui_runtime.remote.socket import ServerSocket

_DEADLINE = 120.0


@dataclass(frozen=True)
class PeerJob:
    """A finished job.

    Attributes:
        picture: The result's bytes, as the server saved it.
        total_seconds: From the image's bytes to the result's.
        run_seconds: Between the first and the last message of ComfyUI's executor, to the ms.
    """

    picture: bytes
    total_seconds: float
    run_seconds: float


def run_peer_job(url: str, image: bytes) -> PeerJob:
    """Upload, queue, wait for the closing message, read the history, fetch the picture.

    Raises:
        TimeoutError: The job did not end in time.
        GraphError: The server refuses the graph.
    """
    address = ServerAddress(url)
    started = time.perf_counter()
    run_id = str(uuid.uuid4())
    with ServerClient(address) as client:
        name = client.upload(f"{run_id}.jpg", image)
        with ServerSocket(address, run_id) as socket:
            if client.queue(_invert(name), run_id).error is not None:
                raise GraphError("The server refuses the benchmark's graph.")
            _wait_for_end(socket, run_id)
        record = client.record(run_id)
        if record is None:
            raise TimeoutError("The server has no record of a job that it said was done.")
        saved = record.outputs["3"]["images"][0]
        fetched = client.fetch(saved["filename"], saved["subfolder"], saved["type"])
    picture = fetched if isinstance(fetched, bytes) else fetched.read_bytes()
    return PeerJob(picture, time.perf_counter() - started, run_seconds(record))


def run_seconds(record: RunRecord) -> float:
    """Return the seconds between the executor's first and last message."""
    times = [float(data["timestamp"]) for _, data in record.status.messages]
    return (times[-1] - times[0]) / 1000.0


def _wait_for_end(socket: ServerSocket, run_id: str) -> None:
    give_up_at = time.monotonic() + _DEADLINE
    while time.monotonic() < give_up_at:
        event = socket.receive(1.0)
        if event and event.name == "executing" and event.data.get("node", run_id) is None:
            return
    raise TimeoutError("The server did not end the benchmark's job in time.")


def _invert(name: str) -> dict[str, dict[str, object]]:
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": name}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "job"}},
    }
