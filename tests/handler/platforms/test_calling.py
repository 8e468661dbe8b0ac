"""The examples of docs/calling.md, each run against the local equivalent.

Put in place of what they name are the addresses, of the platform and of the photo, and a workflow
that takes no time.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import modal
import pytest
from api_v2_support.graphs import GRAPH, inverts, picture
from api_v2_support.typescript import install_sdk
from places import PROJECT
from platforms_support.http_server import PICTURE, boot_service
from platforms_support.runpod_api import API_KEY, ENDPOINT_ID, RunPodApi
from pydantic import SecretStr

import handler.platforms.modal
from handler.api_v2 import open_api_v2
from handler.assets import AssetStore
from handler.http.app import make_app
from handler.http.server import HttpServer, served_storage
from handler.http.service import Service
from handler.inputs import InputFetcher
from handler.job.invoke import Function
from handler.job.kept import open_kept_results
from handler.job.pool import JobPool
from handler.job.results import Delivery
from handler.platforms.http_platforms import platform_routers
from handler.platforms.modal import ModalContainer
from handler.platforms.runpod import Worker

pytestmark = pytest.mark.slow

PAGE = (PROJECT / "docs" / "calling.md").read_text()
BLOCK = re.compile(r"<!-- runs: (\S+) -->\n```(\w+)\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Example:
    where: str
    language: str
    code: str


EXAMPLES = [Example(*found) for found in BLOCK.findall(PAGE)]
TOKEN = "the-token"


def examples(place: str) -> list:
    found = [example for example in EXAMPLES if example.where == place]
    return [pytest.param(example, id=example.language) for example in found]


def runpod_handler(pool: JobPool, send_progress):
    return Worker(pool, send_progress).handle


@pytest.fixture
def runpod_api(make_function, local_settings):
    pool = JobPool(make_function(local_settings), local_settings.concurrency)
    api = RunPodApi(partial(runpod_handler, pool))
    yield api
    api.close()
    pool.close(grace=0.0)


@pytest.fixture
def http_url(runtime, local_settings):
    service = Service(local_settings.model_copy(update={"api_token": SecretStr(TOKEN)}))
    with HttpServer(make_app(service, platform_routers()), "127.0.0.1", 0) as server:
        boot_service(service, runtime)
        yield f"http://127.0.0.1:{server.port}"
        service.close()


def placed(code: str, photo: str = "", api: str = "") -> str:
    code = code.replace("https://api.runpod.ai/v2", api)
    code = code.replace("https://example.com/photo.jpg", photo)
    return code.replace("illustrate", "invert")


def run(
    language: str, code: str, folder: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    command = {
        "sh": ["bash", "-euo", "pipefail", "-c", code],
        "bash": ["bash", "-euo", "pipefail", "-c", code],
        "python": [sys.executable, "-c", code],
        "js": ["node", "--input-type=module", "--eval", code],
    }[language]
    environment = {**os.environ, **variables, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
        cwd=folder,
    )


def check(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    assert re.search(r"(file|http)://\S+\.png", done.stdout), (done.stdout, done.stderr)


@pytest.mark.parametrize("example", examples("runpod"))
def test_example_for_runpod_prints_the_results_url(example, runpod_api, photo_url):
    done = run(
        example.language,
        placed(example.code, photo_url, runpod_api.url),
        RUNPOD_API_KEY=API_KEY,
        RUNPOD_ENDPOINT_ID=ENDPOINT_ID,
        RUNPOD_ENDPOINT_BASE_URL=runpod_api.url,
    )
    check(done)


@pytest.mark.parametrize("example", examples("runpod"))
def test_example_for_runpod_tells_a_failure(example, runpod_api, photo_url):
    done = run(
        example.language,
        placed(example.code, photo_url.replace("photo", "text"), runpod_api.url),
        RUNPOD_API_KEY=API_KEY,
        RUNPOD_ENDPOINT_ID=ENDPOINT_ID,
        RUNPOD_ENDPOINT_BASE_URL=runpod_api.url,
    )
    said = done.stdout + done.stderr
    # A job's failure is no failure of the request that waited for it.
    assert (done.returncode == 0) == ("runsync" in example.code)
    assert "FAILED" in said or "cannot be read as an image" in said


@pytest.mark.parametrize("example", examples("runpod-cancel"))
def test_example_for_runpod_cancels_a_job(example, make_function, local_settings):
    pool = JobPool(make_function(local_settings), 1)
    api = RunPodApi(partial(runpod_handler, pool))
    params = {"steps": 1000, "seconds": 0.01}
    job = api.submit({"input": {"workflow": "steps", "image": PICTURE, "params": params}})
    try:
        ends_at = time.monotonic() + 20
        while not pool.jobs_under_way or pool.jobs_under_way[0].progress is None:
            assert time.monotonic() < ends_at, job.state()
            time.sleep(0.02)
        done = run(
            example.language,
            placed(example.code, api=api.url),
            RUNPOD_API_KEY=API_KEY,
            RUNPOD_ENDPOINT_ID=ENDPOINT_ID,
            JOB_ID=job.job_id,
        )
        assert done.returncode == 0, done.stderr
        assert '"CANCELLED"' in done.stdout
        while pool.jobs_under_way:
            assert time.monotonic() < ends_at
            time.sleep(0.02)
    finally:
        api.close()
        pool.close(grace=0.0)


@pytest.mark.parametrize("example", examples("http"))
def test_example_for_http_prints_the_results_url(example, http_url, photo_url):
    check(
        run(
            example.language, placed(example.code, photo_url), COMFYUI_URL=http_url, API_TOKEN=TOKEN
        )
    )


@pytest.mark.parametrize("example", examples("http"))
def test_example_for_http_tells_a_failure(example, http_url, photo_url):
    code = placed(example.code, photo_url.replace("photo", "text"))
    done = run(example.language, code, COMFYUI_URL=http_url, API_TOKEN=TOKEN)
    assert done.returncode != 0
    assert "cannot be read as an image" in done.stdout + done.stderr


@pytest.fixture
def api_url(runtime, local_settings):
    service = Service(local_settings.model_copy(update={"api_token": SecretStr(TOKEN)}))
    storage = served_storage(service.settings, service)
    api = open_api_v2(service, storage)
    app = make_app(service, platform_routers(), [api])
    with HttpServer(app, "127.0.0.1", 0) as server:
        delivery = Delivery(storage, open_kept_results(service.settings))
        fetcher = InputFetcher(service.settings, assets=AssetStore(storage))
        service.booted(Function(service.settings, runtime, fetcher, delivery))
        yield f"http://127.0.0.1:{server.port}"
        service.close()
        api.close()


@pytest.mark.parametrize("example", examples("comfy-api"))
def test_example_for_the_comfy_api_saves_the_result(example, api_url, tmp_path):
    if example.language == "js":
        install_sdk(tmp_path)
    sent = picture()
    (tmp_path / "photo.png").write_bytes(sent)
    (tmp_path / "workflow_api.json").write_text(json.dumps(GRAPH))
    done = run(example.language, example.code, tmp_path, COMFY_BASE_URL=api_url, API_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    assert re.search(r"/api/v2/assets/\S+/content \d+", done.stdout), done.stdout
    assert inverts((tmp_path / "result_00001_.png").read_bytes(), sent)


@pytest.fixture
def container(make_function, local_settings, monkeypatch):
    """Stand in for the deployed class: everything but the machine that it runs on."""
    monkeypatch.setattr(handler.platforms.modal, "start", make_function)
    monkeypatch.setattr(handler.platforms.modal, "configure_logging", lambda _: None)
    container = ModalContainer(local_settings, lambda: None)
    remote = SimpleNamespace(remote=lambda event: asyncio.run(container.invoke(event)))
    monkeypatch.setattr(modal.Cls, "from_name", lambda *_: lambda: SimpleNamespace(invoke=remote))
    yield container
    container.close()


@pytest.mark.parametrize("example", examples("modal"))
@pytest.mark.usefixtures("container")
def test_example_for_modal_prints_the_results_url(example, photo_url, capsys):
    exec(placed(example.code, photo_url), {})
    assert "file://" in capsys.readouterr().out


def test_every_example_is_run():
    blocks = re.findall(r"```(sh|bash|python|js)\n", PAGE)
    assert len(blocks) == len(EXAMPLES)
    assert {example.where for example in EXAMPLES} == {
        "runpod",
        "runpod-cancel",
        "http",
        "modal",
        "comfy-api",
    }
