"""A function on the real ComfyUI, photos over real HTTP, a bucket of moto's over real HTTP."""

from __future__ import annotations

import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import boto3
import httpx
import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image
from places import WORKFLOWS
from platforms_support.http_server import RunningServer, boot_service

from handler.http.app import make_app
from handler.http.server import HttpServer
from handler.http.service import Service
from handler.inputs import InputFetcher
from handler.job.invoke import Function
from handler.job.kept import open_kept_results
from handler.job.results import Delivery
from handler.log import JsonFormatter
from handler.platforms.http_platforms import platform_routers
from handler.settings import Settings, load_settings
from handler.shelf import open_storage

KEYS = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}


def png(pixels: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="session")
def s3_url():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_url, request):
    name = f"bucket-{abs(hash(request.node.nodeid))}"
    client = boto3.client("s3", endpoint_url=s3_url, region_name="us-east-1", **KEYS)
    client.create_bucket(Bucket=name)
    yield name
    client.close()


@pytest.fixture
def photo_url(photo, tmp_path):
    """Address of a photo on a loopback server that the settings below allow."""
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "photo.png").write_bytes(png(photo.pixels))
    (tmp_path / "web" / "text.png").write_text("this is no picture")

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path / "web"))

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/photo.png"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def local_settings(tmp_path, monkeypatch) -> Settings:
    """Results in a folder, loopback allowed for inputs."""
    monkeypatch.chdir(tmp_path)
    return load_settings(
        device="cpu",
        workflows_dir=WORKFLOWS,
        results_dir=tmp_path / "results",
        input_allowed_hosts="127.0.0.1",
    )


@pytest.fixture
def bucket_settings(local_settings, s3_url, bucket) -> Settings:
    return local_settings.model_copy(
        update={
            "bucket_endpoint_url": s3_url,
            "bucket_name": bucket,
            "bucket_access_key_id": "key",
            "bucket_secret_access_key": load_settings(
                bucket_access_key_id="key", bucket_secret_access_key="secret"
            ).bucket_secret_access_key,
        }
    )


@pytest.fixture
def make_function(runtime):
    def make(settings: Settings) -> Function:
        delivery = Delivery(open_storage(settings), open_kept_results(settings))
        return Function(settings, runtime, InputFetcher(settings), delivery)

    return make


@pytest.fixture
def function(make_function, local_settings) -> Function:
    return make_function(local_settings)


@pytest.fixture
def json_log():
    """What the handler logs from now on, as the lines that production has, decoded."""
    lines = []

    class Collector(logging.Handler):
        def emit(self, record):
            lines.append(json.loads(JsonFormatter().format(record)))

    collector = Collector()
    logger = logging.getLogger("handler")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(collector)
    yield lines
    logger.removeHandler(collector)
    logger.setLevel(level)


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
        server = HttpServer(make_app(service, platform_routers()), "127.0.0.1", 0)
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
