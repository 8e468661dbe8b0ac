"""The running service on loopback, with limits that a test can reach."""

from __future__ import annotations

import httpx
import pytest
from places import WORKFLOWS
from platforms_support.http_server import RunningServer, boot_service

from handler.http.app import make_app
from handler.http.connection import ConnectionLimits
from handler.http.server import HttpServer
from handler.http.service import Service
from handler.platforms.http_platforms import platform_routers
from handler.settings import load_settings


@pytest.fixture
def attacked(tmp_path, monkeypatch, request):
    """Start a server; without ``boot`` it stays as it is while ComfyUI starts."""
    monkeypatch.chdir(tmp_path)
    started = []

    def start(
        limits: ConnectionLimits | None = None, *, boot: bool = False, **settings: object
    ) -> RunningServer:
        service = Service(
            load_settings(
                **{"workflows_dir": WORKFLOWS, "results_dir": tmp_path / "results"}
                | {"device": "cpu", "shutdown_grace": 0.0}
                | settings
            )
        )
        app = make_app(service, platform_routers())
        server = HttpServer(app, "127.0.0.1", 0, limits or ConnectionLimits())
        server.__enter__()
        url = f"http://127.0.0.1:{server.port}"
        client = httpx.Client(base_url=url, timeout=20, trust_env=False, verify=False)
        started.append((server, service, client))
        if boot:
            boot_service(service, request.getfixturevalue("runtime"))
        return RunningServer(url, server.port, service, client)

    yield start
    for server, service, client in started:
        client.close()
        service.close()
        server.__exit__()
