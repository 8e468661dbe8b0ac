"""A server on loopback, in this process, in front of a function on the real ComfyUI."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from platforms_support.http_server import RunningServer, boot_service

from handler.platforms.http.app import make_app
from handler.platforms.http.server import HttpServer
from handler.platforms.http.service import Service


@pytest.fixture(scope="session")
def close_later():
    """Servers take a while to see that they are to end; the next test need not wait for it."""
    with ThreadPoolExecutor(8) as threads:
        ends = []
        yield lambda server: ends.append(threads.submit(server.__exit__, None, None, None))
        for end in ends:
            end.result(30)


@pytest.fixture
def make_server(runtime, booted, local_settings, close_later):
    started = []

    def make(*, boot: bool = True, **updates: object) -> RunningServer:
        settings = local_settings.model_copy(update=updates)
        service = Service(settings)
        server = HttpServer(make_app(service), "127.0.0.1", 0)
        server.__enter__()
        url = f"http://127.0.0.1:{server.port}"
        client = httpx.Client(base_url=url, timeout=30, trust_env=False, verify=False)
        started.append((server, service, client))
        if boot:
            service.metrics.booted(booted.report)
            boot_service(service, runtime)
        return RunningServer(url, server.port, service, client)

    yield make
    for server, service, client in started:
        client.close()
        service.settings = service.settings.model_copy(update={"shutdown_grace": 0.0})
        service.close()
        close_later(server)


@pytest.fixture
def server(make_server) -> RunningServer:
    return make_server()
