"""``python -m handler serve`` as a process: its start, its port, its end."""

from __future__ import annotations

import json
import resource
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from platforms_support.http_server import PICTURE, error_of, event, slow, wait_until

from handler import settings as settings_module
from handler.contract.errors import ConfigurationError
from handler.http.connection import raise_file_limit
from handler.http.server import HttpServer
from handler.settings import load_settings

pytestmark = pytest.mark.slow


def test_life_of_a_server(start_server):
    """It answers while ComfyUI starts, on $PORT; SIGTERM ends the running job well."""
    process = start_server(WORKER_CONCURRENCY="1", SHUTDOWN_GRACE_SECONDS="20")
    client = process.client
    wait_until(lambda: process.stage() is not None, timeout=60)
    assert process.stage() == "booting", process.log.read_text()
    assert client.get("/ready").status_code == 503
    early = client.post("/v1/invoke", json=event(id="early"))
    assert early.json()["status"] == "succeeded", process.log.read_text()
    assert client.get("/ready").status_code == 200
    with ThreadPoolExecutor(2) as threads:
        running = threads.submit(client.post, "/v1/invoke", json=slow(30, 0.05, id="running"))
        wait_until(lambda: "run" in client.get("/v1/jobs/running").text)
        waiting = threads.submit(client.post, "/v1/invoke", json=event(id="waiting"))
        wait_until(lambda: client.get("/v1/jobs/waiting").status_code == 200)
        process.popen.send_signal(signal.SIGTERM)
        wait_until(lambda: process.stage() == "stopping")
        assert client.get("/ready").status_code == 503
        error_of(client.post("/v1/invoke", json=event()), 503, "shutting_down")
        assert error_of(waiting.result(), 503, "shutting_down")["error"]["retryable"] is True
        assert running.result().json()["status"] == "succeeded"
    status, log = process.ended()
    assert status == 0, log
    assert '"event": "booted"' in log
    assert PICTURE not in log


@pytest.mark.fault(
    "The server is killed",
    "whoever asks next is told what became of each job",
)
def test_killed_server_leaves_no_job_in_the_dark(start_server, tmp_path):
    """After kill -9 the next server tells what was lost, and does what only waited."""
    first = start_server(WORKER_CONCURRENCY="1")
    wait_until(lambda: first.stage() == "running", timeout=60)
    params = {"until": str(tmp_path / "until")}
    done = first.client.post("/v1/jobs", json=event(id="done"))
    assert done.status_code == 202
    wait_until(lambda: first.client.get("/v1/jobs/done").json()["status"] == "succeeded")
    first.client.post("/v1/jobs", json=event("stubborn", id="on-device", params=params))
    wait_until((tmp_path / "until.waiting").exists)
    first.client.post("/v1/jobs", json=event(id="waiting"))
    first.popen.kill()
    first.popen.wait(10)
    second = start_server()
    wait_until(lambda: second.stage() is not None, timeout=60)
    lost = error_of(second.client.get("/v1/jobs/on-device/result"), 503, "worker_lost")["error"]
    assert lost["retryable"] is True
    assert lost["details"]["node"]
    assert second.client.get("/v1/jobs/done").json()["status"] == "succeeded"
    waited = second.client.get("/v1/jobs/waiting").json()
    assert waited["status"] in {"queued", "running", "succeeded"}
    wait_until(
        lambda: second.client.get("/v1/jobs/waiting").json()["status"] == "succeeded", timeout=60
    )
    (tmp_path / "until").touch()


def test_signal_while_comfyui_starts_ends_the_process_at_once(start_server):
    process = start_server()
    wait_until(lambda: process.stage() == "booting", timeout=60)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(process.client.post, "/v1/invoke", json=event())
        wait_until(lambda: "comfyui_jobs_waiting 1.0" in process.client.get("/metrics").text)
        process.popen.send_signal(signal.SIGTERM)
        error_of(waiting.result(), 503, "shutting_down")
    status, log = process.ended()
    assert status == 0, log
    assert '"event": "booted"' not in log


def test_worker_beyond_repair_answers_and_ends_with_status_one(start_server):
    process = start_server(JOB_TIMEOUT_SECONDS="0.5", STOP_GRACE_SECONDS="0.5")
    wait_until(lambda: process.stage() == "running", timeout=120)
    broken = process.client.post("/v1/invoke", json=event("stubborn"))
    assert error_of(broken, 503, "worker_broken")["error"]["retryable"] is True
    status, log = process.ended()
    assert status == 1, log


def test_port_in_use_is_said_plainly(server):
    with pytest.raises(ConfigurationError, match="PORT"):
        HttpServer(None, "127.0.0.1", server.port)


def test_listens_on_loopback_outside_a_container_unless_told_otherwise(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOST", raising=False)
    for in_container, host in [(False, "127.0.0.1"), (True, "0.0.0.0")]:
        monkeypatch.setattr(settings_module, "_in_container", lambda answer=in_container: answer)
        assert load_settings().listen_address == host
        assert load_settings(host="192.0.2.7").listen_address == "192.0.2.7"


def test_open_port_without_a_token_is_warned_of(start_server):
    process = start_server(HOST="0.0.0.0")
    wait_until(lambda: process.stage() == "booting", timeout=60)
    process.popen.send_signal(signal.SIGTERM)
    assert "no API_TOKEN is set" in process.ended()[1]
    process = start_server(HOST="127.0.0.1")
    wait_until(lambda: process.stage() == "booting", timeout=60)
    process.popen.send_signal(signal.SIGTERM)
    assert "no API_TOKEN is set" not in process.ended()[1]


def test_file_limit_is_raised_to_what_the_system_allows():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, soft), hard))
        allowed = raise_file_limit()
        assert allowed == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        assert allowed == (min(hard, 65_536) if hard != resource.RLIM_INFINITY else 65_536)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_c_code_writes_past_the_log_is_in_it(start_server):
    process = start_server()
    wait_until(lambda: process.stage() == "booting", timeout=60)
    for number in (1, 2):
        with Path(f"/proc/{process.popen.pid}/fd/{number}").open("wb", buffering=0) as descriptor:
            descriptor.write(f"written to {number}\n".encode())
    wait_until(lambda: "written to 2" in process.log.read_text())
    process.popen.send_signal(signal.SIGTERM)
    lines = [json.loads(line) for line in process.ended()[1].splitlines()]
    assert "written to 1" in " ".join(line.get("text", "") for line in lines)


@pytest.mark.parametrize("after", [0.2, 0.5, 0.8, 1.1, 1.4])
def test_a_stop_ends_the_process_wherever_its_start_is(start_server, after):
    process = start_server()
    wait_until(lambda: process.stage() == "booting", timeout=60)
    time.sleep(after)
    process.popen.send_signal(signal.SIGTERM)
    status, output = process.ended()
    assert status == 0
    assert [json.loads(line)["event"] for line in output.splitlines()].count("stopping") == 1
