"""RunPod's load-balancing endpoints, line by line of their contract.

Source, read in November 2026: "Load balancing endpoints: Overview" at docs.runpod.io.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import httpx
import pytest
from places import TESTS
from platforms_support.http_server import boot_service, event, slow, wait_until

from comfyui_runtime.errors import BootError
from handler.settings import load_settings


def test_ping_is_204_while_it_starts_then_200_then_503(make_server, runtime):
    server = make_server(boot=False, health_port=80)
    starting = server.get("/ping")
    assert (starting.status_code, starting.content) == (204, b"")
    boot_service(server.service, runtime)
    healthy = server.get("/ping")
    assert (healthy.status_code, healthy.content) == (200, b"")
    server.service.stop()
    assert server.get("/ping").status_code == 503


def test_start_that_failed_takes_the_worker_out(make_server):
    server = make_server(boot=False, health_port=80)
    server.service.boot_failed(BootError("ComfyUI does not start."))
    assert server.get("/ping").status_code == 503


def test_worker_that_lacks_a_workflows_models_is_out(make_server, tmp_path):
    server = make_server(health_port=80, workflows_dir=tmp_path)
    assert server.get("/ping").status_code == 503


def test_ping_needs_no_key_of_this_project_and_no_known_name(make_server):
    token = load_settings(api_token="long-enough").api_token
    for settings in ({"api_token": token}, {}):
        server = make_server(health_port=80, **settings)
        answer = server.get("/ping", headers={"Host": "abc.api.runpod.ai"})
        assert answer.status_code == 200


def test_ports_are_those_of_the_environment(monkeypatch):
    monkeypatch.setenv("PORT", "80")
    monkeypatch.setenv("PORT_HEALTH", "81")
    settings = load_settings()
    assert (settings.port, settings.health_port) == (80, 81)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture
def start_worker(comfyui_dir, tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "custom_nodes").symlink_to(TESTS / "node_packs")
    processes = []

    def start(port: int, health_port: int) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "COMFYUI_DIR": str(comfyui_dir),
            "COMFYUI_BASE_DIR": str(tmp_path / "base"),
            "COMFYUI_DEVICE": "cpu",
            "WORKFLOWS_DIR": str(TESTS / "workflows"),
            "RESULTS_DIR": str(tmp_path / "results"),
            "PORT": str(port),
            "PORT_HEALTH": str(health_port),
            "PYTHONPATH": str(TESTS.parent),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with (tmp_path / "worker.log").open("wb") as log:
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "handler", "serve"],
                    env=environment,
                    cwd=tmp_path,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait(10)


def status_of(client: httpx.Client, url: str) -> int | None:
    try:
        return client.get(url).status_code
    except httpx.TransportError:
        return None


@pytest.mark.slow
@pytest.mark.parametrize("own_port", [False, True], ids=["the same port", "a port of its own"])
def test_life_of_a_worker(start_worker, own_port):
    port, other = free_ports(2)
    health_port = other if own_port else port
    process = start_worker(port, health_port)
    base, ping = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{health_port}/ping"
    with httpx.Client(timeout=60, trust_env=False, verify=False) as client:
        seen = []

        def pinged(status: int) -> bool:
            seen.append(status_of(client, ping))
            return seen[-1] == status

        wait_until(lambda: pinged(200), timeout=120)
        assert set(seen) <= {None, 204, 200}
        assert 204 in seen
        assert client.post(f"{base}/v1/invoke", json=event()).status_code == 200
        if own_port:
            # Nothing else is there: it asks for no token.
            assert client.get(f"http://127.0.0.1:{health_port}/v1/workflows").status_code == 404
        assert client.post(f"{base}/v1/jobs", json=slow(80, 0.05, id="last")).status_code == 202
        wait_until(lambda: '"run"' in client.get(f"{base}/v1/jobs/last").text)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: pinged(503))
    assert process.wait(60) == 0
