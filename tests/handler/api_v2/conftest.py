"""Servers with the Comfy API, on the real ComfyUI; each answer is checked."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
import pytest
from api_v2_support.answers import Answers
from comfy_sdk import Comfy
from platforms_support.http_server import RunningServer

from handler.api_v2 import ApiV2, make_mounted
from handler.assets import AssetStore
from handler.http.app import make_app
from handler.http.server import HttpServer, served_storage
from handler.http.service import Service
from handler.inputs import InputFetcher
from handler.job.invoke import Function
from handler.job.kept import open_kept_results
from handler.job.results import Delivery
from handler.job.service import JobService
from handler.platforms.http_platforms import platform_routers


@dataclass
class ApiServer(RunningServer):
    """A server with the Comfy API."""

    api: ApiV2
    answers: Answers
    boot: object

    def submit_graph(self, graph: dict[str, object], **more: object) -> dict[str, object]:
        response = self.post("/api/v2/jobs", {"workflow": graph, **more})
        assert response.status_code == 201, response.text
        return response.json()

    def job(self, job_id: str) -> dict[str, object]:
        response = self.get(f"/api/v2/jobs/{job_id}")
        assert response.status_code == 200, response.text
        return response.json()

    def ended_job(self, job_id: str) -> dict[str, object]:
        for _ in range(100):
            job = self.job(job_id)
            if job["status"] in {"succeeded", "failed", "canceled"}:
                return job
        raise TimeoutError(job)

    def upload(self, data: bytes, file_path: str = "photo.png", **fields: str) -> httpx.Response:
        form = {"content_type": "image/png", "file_path": file_path, **fields}
        files = {"file": (file_path, data, "image/png")}
        return self.client.post("/api/v2/assets", data=form, files=files)


@pytest.fixture
def make_api_server(runtime, booted, local_settings, close_later):
    started = []

    def make(*, boot: bool = True, settings=None, records=None, run_on=None, **updates):
        given = {"caller_graphs": "on"} | updates
        settings = (settings or local_settings).model_copy(update=given)
        jobs = JobService(settings, records=records)
        service = Service(settings, jobs=jobs)
        storage = served_storage(settings, service)
        api = ApiV2(service, storage)
        mounted = make_mounted(api)
        answers = Answers(make_app(service, platform_routers(), [mounted]))
        server = HttpServer(answers, "127.0.0.1", 0)
        server.__enter__()
        url = f"http://127.0.0.1:{server.port}"
        token = settings.api_token
        headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
        client = httpx.Client(
            base_url=url, timeout=30, trust_env=False, verify=False, headers=headers
        )
        started.append((server, service, client, mounted, answers))

        def boot_now() -> None:
            service.metrics.booted(booted.report)
            delivery = Delivery(storage, open_kept_results(settings))
            fetcher = InputFetcher(settings, assets=AssetStore(storage))
            service.booted(Function(settings, run_on or runtime, fetcher, delivery))

        if boot:
            boot_now()
        return ApiServer(url, server.port, service, client, api, answers, boot_now)

    yield make
    for server, service, client, mounted, answers in started:
        client.close()
        service.settings = service.settings.model_copy(update={"shutdown_grace": 0.0})
        service.close()
        mounted.close()
        close_later(server)
        answers.check()


@pytest.fixture
def api_server(make_api_server) -> ApiServer:
    return make_api_server()


@pytest.fixture
def sdk(monkeypatch):
    """Make an SDK client of a server; ``COMFY_BASE_URL`` is the one way to tell it the address."""
    clients = []

    def make(server: ApiServer, **options: object) -> Comfy:
        for name in ("COMFY_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("COMFY_BASE_URL", server.url)
        clients.append(Comfy(**options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()
