"""Results sent to addresses that the event gives: real HTTP on loopback, and a bucket of moto's."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest
from fake_runtime import FakeRuntime
from places import WORKFLOWS

from comfyui_runtime.run.cancellation import Cancellation
from comfyui_runtime.run.outputs import TextOutput
from handler.contract.errors import (
    EventError,
    ForbiddenAddressError,
    StorageError,
    StorageUnavailableError,
)
from handler.contract.event import parse_event
from handler.inputs import InputFetcher
from handler.job.invoke import Function
from handler.job.kept import open_kept_results
from handler.job.put_addresses import PutAddresses
from handler.job.results import Delivery
from handler.settings import load_settings
from handler.shelf import open_storage

SIGNATURE = "X-Amz-Signature=c0ffee"


class Receiver:
    """Takes what is PUT to it; answers with the statuses that it is told, the last one for good."""

    def __init__(self):
        self.taken = {}
        self.headers = {}
        self.statuses = [200]
        self.answer_headers = {}
        self.tries = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self):
                outer.tries += 1
                body = self.rfile.read(int(self.headers["Content-Length"]))
                statuses = outer.statuses
                status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
                if status == 200:
                    outer.taken[self.path] = body
                    outer.headers[self.path] = dict(self.headers)
                self.send_response(status)
                for name, value in {"Content-Length": "0", **outer.answer_headers}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def address(self, name):
        return f"http://127.0.0.1:{self.server.server_port}/{name}?{SIGNATURE}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return load_settings(
        device="cpu",
        workflows_dir=WORKFLOWS,
        results_dir=tmp_path / "results",
        kept_results_dir=tmp_path / "kept",
        input_allowed_hosts="127.0.0.1",
        bucket_attempts=2,
    )


@pytest.fixture
def addresses(settings):
    return PutAddresses(settings)


@pytest.fixture
def make_put_function(settings):
    def make(runtime=None):
        delivery = Delivery(
            open_storage(settings),
            open_kept_results(settings),
            put_addresses=PutAddresses(settings),
        )
        return Function(settings, runtime or FakeRuntime(), InputFetcher(settings), delivery)

    return make


def event(photo_url, *put_urls, **output):
    return {
        "id": "job",
        "input": {
            "workflow": "invert",
            "image": photo_url,
            "output": {"put_urls": list(put_urls), **output},
        },
    }


def test_a_file_is_sent_with_its_type_and_length(addresses, receiver):
    shown = addresses.put(receiver.address("a.png"), b"bytes", "image/png")
    assert shown == receiver.address("a.png").partition("?")[0]
    assert receiver.taken == {f"/a.png?{SIGNATURE}": b"bytes"}
    headers = receiver.headers[f"/a.png?{SIGNATURE}"]
    assert headers["Content-Type"] == "image/png"
    assert headers["Content-Length"] == "5"


def test_a_large_file_comes_from_the_disk(addresses, receiver, tmp_path):
    (tmp_path / "film").write_bytes(b"film" * 300_000)
    addresses.put(receiver.address("film"), tmp_path / "film", "video/mp4")
    assert receiver.taken[f"/film?{SIGNATURE}"] == b"film" * 300_000


def test_a_failure_that_passes_is_tried_again(addresses, receiver):
    receiver.statuses = [503, 200]
    addresses.put(receiver.address("a"), b"bytes", "image/png")
    assert receiver.tries == 2


def test_a_refusal_is_not_tried_again_and_does_not_show_the_signature(addresses, receiver):
    receiver.statuses = [403]
    with pytest.raises(StorageError, match="status 403") as caught:
        addresses.put(receiver.address("a"), b"bytes", "image/png")
    assert receiver.tries == 1
    assert not caught.value.retryable
    assert "c0ffee" not in caught.value.message + json.dumps(caught.value.details)


def test_tries_have_an_end(addresses, receiver):
    receiver.statuses = [503]
    with pytest.raises(StorageUnavailableError):
        addresses.put(receiver.address("a"), b"bytes", "image/png")
    assert receiver.tries == 2


def test_redirects_are_not_followed(addresses, receiver):
    receiver.statuses = [307]
    receiver.answer_headers = {"Location": receiver.address("b")}
    with pytest.raises(StorageError, match="own region"):
        addresses.put(receiver.address("a"), b"bytes", "image/png")
    assert receiver.taken == {}


def test_an_s3_storage_that_has_other_bytes_is_found_out(addresses, receiver):
    receiver.answer_headers = {"ETag": '"' + "0" * 32 + '"', "x-amz-request-id": "1"}
    with pytest.raises(StorageUnavailableError, match="not what was sent"):
        addresses.put(receiver.address("a"), b"bytes", "image/png")
    receiver.answer_headers["ETag"] = f'"{hashlib.md5(b"bytes").hexdigest()}"'
    addresses.put(receiver.address("a"), b"bytes", "image/png")


def test_nothing_is_sent_into_private_networks(settings):
    guarded = PutAddresses(settings.model_copy(update={"input_allowed_hosts": frozenset()}))
    with pytest.raises(ForbiddenAddressError, match="loopback"):
        guarded.check(["http://127.0.0.1:1/a?x"], Cancellation(5))
    with pytest.raises(StorageError, match="loopback"):
        guarded.put("http://127.0.0.1:1/a?x", b"bytes", "image/png")


def test_an_address_with_a_password_is_refused(addresses):
    with pytest.raises(EventError, match="password"):
        addresses.check(["http://me:secret@127.0.0.1/a"], Cancellation(5))


def test_a_presigned_address_of_a_bucket_takes_the_result(addresses, s3_url, bucket):
    client = boto3.client(
        "s3",
        endpoint_url=s3_url,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )
    signed = client.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "a.png"})
    addresses.put(signed, b"bytes", "image/png")
    stored = client.get_object(Bucket=bucket, Key="a.png")
    assert stored["Body"].read() == b"bytes"
    assert stored["ContentType"] == "image/png"


def test_a_jobs_result_goes_to_its_address(make_put_function, receiver, photo_url, settings):
    response = make_put_function().answer(event(photo_url, receiver.address("a.png"))).to_json()
    assert response["status"] == "succeeded", response
    output = response["outputs"][0]
    assert output["url"] == receiver.address("a.png").partition("?")[0]
    assert output["key"] is None
    taken = receiver.taken[f"/a.png?{SIGNATURE}"]
    assert output["sha256"] == hashlib.sha256(taken).hexdigest()
    assert not settings.results_dir.exists()


def test_a_result_that_was_not_taken_is_kept_and_sent_to_new_addresses(
    make_put_function, receiver, photo_url, json_log
):
    runtime = FakeRuntime()
    function = make_put_function(runtime)
    receiver.statuses = [403]
    failed = function.answer(event(photo_url, receiver.address("old.png"))).to_json()
    assert failed["error"]["code"] == "storage_refused"
    assert failed["error"]["details"]["kept"]
    receiver.statuses = [200]
    response = function.answer(event(photo_url, receiver.address("new.png"))).to_json()
    assert response["status"] == "succeeded", response
    assert list(receiver.taken) == [f"/new.png?{SIGNATURE}"]
    assert len(runtime.runs) == 1
    assert "c0ffee" not in json.dumps([failed, response, json_log])


def test_texts_need_no_address(make_put_function, receiver, photo_url):
    runtime = FakeRuntime(lambda _: (TextOutput("9", "a caption"),))
    response = make_put_function(runtime).answer(event(photo_url, receiver.address("a"))).to_json()
    assert response["outputs"][0]["text"] == "a caption"
    assert receiver.taken == {}


def test_a_forbidden_address_is_refused_before_the_run(settings, photo_url):
    runtime = FakeRuntime()
    shut = settings.model_copy(update={"input_allowed_hosts": frozenset()})
    delivery = Delivery(
        open_storage(settings), open_kept_results(settings), put_addresses=PutAddresses(shut)
    )
    function = Function(settings, runtime, InputFetcher(settings), delivery)
    response = function.answer(event(photo_url, "http://127.0.0.1:1/a")).to_json()
    assert response["error"]["code"] == "forbidden_address"
    assert runtime.runs == []


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        ({"put_urls": ["https://h/a"], "delivery": "base64"}, "not both"),
        ({"put_urls": ["https://h/a"], "reuse": True}, "not with put_urls"),
        ({"put_urls": ["ftp://h/a"]}, "put_urls"),
        ({"put_urls": "https://h/a"}, "put_urls"),
    ],
)
def test_addresses_that_cannot_be_meant_are_refused(output, problem):
    with pytest.raises(EventError, match=problem):
        parse_event({"input": {"workflow": "invert", "output": output}})
