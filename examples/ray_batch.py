"""A batch on Ray: each actor of a Ray Data pipeline boots ComfyUI once and runs many events.

Ray distributes the events over a cluster, restarts actors that died, and writes the responses.
Unlike `python -m handler batch`, it does not resume an interrupted batch and does not keep a job
from running twice. Use it if you already have a Ray cluster.

    pip install 'ray[data]>=2.50'
    python examples/ray_batch.py events.jsonl responses/ --actors 4

Try it on one machine without a GPU with `--cpu`.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import ray

from comfyui_runtime.errors import ServiceError
from handler.contract.job_id import job_id_of
from handler.contract.response import failure
from handler.job.pool import JobPool
from handler.job.start import start
from handler.settings import load_settings

if TYPE_CHECKING:
    import numpy as np

    from handler.contract.response import Response


class Worker:
    """ComfyUI on one GPU. Ray creates one per actor and calls it with blocks of lines."""

    def __init__(self, device: str) -> None:
        settings = load_settings(device=device)
        self._pool = JobPool(start(settings), settings.concurrency)

    def __call__(self, block: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        """Carry out a block of events, several of them under way at once."""
        futures = [self._submit(json.loads(line)) for line in block["text"]]
        responses = [future.result().to_json() for future in futures]
        return {
            "id": [response["job_id"] for response in responses],
            "status": [response["status"] for response in responses],
            "response": [json.dumps(response, ensure_ascii=False) for response in responses],
        }

    def _submit(self, event: object) -> Future[Response]:
        job_id = job_id_of(event)
        try:
            return self._pool.submit(self._pool.function.read(event, job_id)).future
        except ServiceError as error:
            refused: Future[Response] = Future()
            refused.set_result(failure(job_id, error))
            return refused


def main() -> None:
    """Run the batch."""
    parser = argparse.ArgumentParser(description="Run a list of events on a Ray cluster.")
    parser.add_argument("events", help="JSON lines, one event each; a path or s3:// address")
    parser.add_argument("responses", help="folder or s3:// prefix for the responses, JSON lines")
    parser.add_argument("--actors", type=int, default=1, help="number of actors, one per GPU")
    parser.add_argument("--cpu", action="store_true", help="run on the CPU, without a GPU")
    args = parser.parse_args()

    done = ray.data.read_text(args.events).map_batches(
        Worker,
        fn_constructor_args=["cpu" if args.cpu else "cuda"],
        batch_size=16,
        compute=ray.data.ActorPoolStrategy(size=args.actors),
        num_gpus=0 if args.cpu else 1,
        num_cpus=1,
    )
    done.write_json(args.responses)


if __name__ == "__main__":
    main()
