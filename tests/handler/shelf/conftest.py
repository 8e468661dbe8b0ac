"""A real S3 protocol server on loopback, and one that answers as it is told."""

import hashlib
import os
import threading
import uuid
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest

from handler.settings import Settings


@dataclass(frozen=True)
class Stored:
    url: str
    key: str


def store(shelf, data, key, expires_in=86_400):
    """Put a picture on a shelf, as a job's result is."""
    shelf.put(key, data, content_type="image/png")
    return Stored(shelf.url(key, expires_in=expires_in), shelf.full_key(key))


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(autouse=True)
def _no_storage_in_the_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("AWS_", "BUCKET_", "S3_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))


@pytest.fixture
def s3(s3_url):
    """A client of the test's own, to look at what was stored."""
    client = boto3.client(
        "s3",
        endpoint_url=s3_url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    yield client
    client.close()


@pytest.fixture
def bucket(s3):
    name = f"results-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def settings(tmp_path):
    """Make settings of a test's own; results go below its folder."""

    def make(**fields):
        return Settings(**{"_env_file": None, "results_dir": tmp_path / "results"} | fields)

    return make


@pytest.fixture
def bucket_settings(settings, s3_url, bucket):
    """Make settings for the test's own bucket."""

    def make(**fields):
        return settings(
            **{
                "bucket_endpoint_url": s3_url,
                "bucket_name": bucket,
                "bucket_access_key_id": "test",
                "bucket_secret_access_key": "test",
                "bucket_attempts": 1,
            }
            | fields
        )

    return make


@pytest.fixture
def photo():
    """A result; what is in it does not matter to a shelf."""
    return b"\x89PNG not really"


class ScriptedStorage:
    """Answers each request with the next of ``answers``: a status and an S3 error code.

    A ``page`` is the body of every success, which is then no storage's.
    """

    page = b""

    def __init__(self):
        self.answers = []
        self.requests = []
        storage = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self):
                self._answer()

            def do_HEAD(self):
                self._answer()

            def do_GET(self):
                self._answer()

            def do_DELETE(self):
                self._answer()

            def _answer(self):
                sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                storage.requests.append((self.command, self.path, self.headers))
                status, code = storage.answers.pop(0)
                body = f"<Error><Code>{code}</Code></Error>".encode() if code else storage.page
                self.send_response(status)
                if not storage.page:
                    self.send_header("ETag", f'"{hashlib.md5(sent).hexdigest()}"')
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def scripted():
    storage = ScriptedStorage()
    yield storage
    storage.close()
