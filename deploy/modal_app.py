"""The function on Modal: `modal deploy deploy/modal_app.py`, see docs/modal.md.

Once per account, store the bucket's settings and download the models to a volume:

    modal secret create comfyui-bucket BUCKET_ENDPOINT_URL=… BUCKET_NAME=… \
        BUCKET_ACCESS_KEY_ID=… BUCKET_SECRET_ACCESS_KEY=… API_TOKEN=…
    modal run deploy/modal_app.py::download_models
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import modal

if TYPE_CHECKING:
    from fastapi import FastAPI

PROFILE = "ghibli"
GPU = "L4"
PROJECT = Path(__file__).resolve().parent.parent
# Jobs in progress at once in one container; one is on the GPU, the others fetch and store.
CONCURRENCY = 4


def with_files(image: modal.Image, *names: str) -> modal.Image:
    """Copy files and folders of the project into the image; names of folders end in a slash."""
    for name in names:
        if name.endswith("/"):
            image = image.add_local_dir(
                PROJECT / name, f"/app/{name}", copy=True, ignore=["**/__pycache__"]
            )
        else:
            image = image.add_local_file(PROJECT / name, f"/app/{name}", copy=True)
    return image


def provisioned(image: modal.Image, step: str) -> modal.Image:
    """Add a step of provision.sh as one layer, as in the Dockerfile.

    The Dockerfile itself is not used: Modal's builder supports neither stages nor mounts
    (https://alchemy.run/modal/sandboxes/images).
    """
    return image.run_commands(
        f"cd /app && ./provision.sh {PROFILE} --only {step} --torch-index pypi"
    )


image = (
    modal.Image.debian_slim(python_version="3.12")
    .apt_install("aria2", "git")
    .env(
        {
            "VIRTUAL_ENV": "/usr/local",
            "COMFYUI_DIR": "/opt/comfyui/src",
            "COMFYUI_BASE_DIR": "/opt/comfyui/base",
            "COMFYUI_MODEL_DIRS": "/models",
            "WORKER_CONCURRENCY": str(CONCURRENCY),
            "HF_HUB_OFFLINE": "1",
            # Looks for a GPU without initialising CUDA, which would record in the snapshot that
            # there was none.
            "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
            # ComfyUI's own choice for these GPUs. It makes that choice too late if torch is
            # imported before it.
            "PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync",
        }
    )
)
image = with_files(image, "provision.sh", "provisioning/", "constraints.txt", "releases/")
image = with_files(image, "listed_models/")
image = provisioned(image, "torch")
image = provisioned(with_files(image, "comfyui_releases.txt", "node_packs/"), "comfyui")
image = provisioned(with_files(image, "node_packs.txt", "node_packs.lock"), "nodes")
image = with_files(image, "pyproject.toml", "README.md", "LICENSE", "models.txt", "models.lock")
image = with_files(image, "handler/", "comfyui_runtime/", "workflows/")
image = provisioned(image, "project")
image = provisioned(image, "index").workdir("/app")

app = modal.App("serverless-comfyui", image=image)
models = modal.Volume.from_name("comfyui-models", create_if_missing=True)
bucket = modal.Secret.from_name("comfyui-bucket")


@app.function(volumes={"/models": models}, timeout=4 * 60 * 60)
def download_models() -> None:
    """Download the profile's models to the volume; existing ones stay."""
    command = ["./provision.sh", PROFILE, "--fetch-only", "--only", "models"]
    subprocess.run([*command, "--models-dir", "/models"], cwd="/app", check=True)  # noqa: S603
    models.commit()


@app.cls(
    gpu=GPU,
    volumes={"/models": models.with_mount_options(read_only=True)},
    secrets=[bucket],
    enable_memory_snapshot=True,
    scaledown_window=60,
    # Longer than JOB_TIMEOUT_SECONDS, which ends a job with a proper error.
    timeout=15 * 60,
    startup_timeout=5 * 60,
)
@modal.concurrent(max_inputs=2 * CONCURRENCY, target_inputs=CONCURRENCY)
class ComfyUI:
    """A container with ComfyUI in it."""

    @modal.enter(snap=True)
    def import_ahead(self) -> None:
        """Import, before the snapshot, what needs no GPU."""
        from handler.platforms.modal import import_ahead

        import_ahead()

    @modal.enter(snap=False)
    def boot(self) -> None:
        """Start ComfyUI on the GPU after the snapshot is restored."""
        from handler.platforms.modal import ModalContainer
        from handler.settings import load_settings

        self.container = ModalContainer(load_settings(), modal.experimental.stop_fetching_inputs)

    @modal.exit()
    def close(self) -> None:
        """Let running jobs finish."""
        self.container.close()

    @modal.method()
    async def invoke(self, event: dict[str, Any]) -> dict[str, Any]:
        """Run one event; docs/events.md describes events and responses."""
        return await self.container.invoke(event)

    @modal.asgi_app()
    def web(self) -> FastAPI:
        """The HTTP service, with its page."""
        return self.container.web()


@app.local_entrypoint()
def batch(events: str, responses: str = "responses.jsonl") -> None:
    """Run a list of events, JSON lines, on as many containers as Modal provides.

    Args:
        events: The list.
        responses: File to which responses are appended in the order in which they arrive.
    """
    lines = [json.loads(line) for line in Path(events).read_text(encoding="utf-8").splitlines()]
    with Path(responses).open("a", encoding="utf-8") as file:
        for response in ComfyUI().invoke.map(lines, order_outputs=False):
            file.write(json.dumps(response, ensure_ascii=False) + "\n")
            file.flush()
