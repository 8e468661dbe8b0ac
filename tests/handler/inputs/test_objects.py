from __future__ import annotations

import socket
import threading

import boto3
import pytest

from comfyui_runtime.errors import CancelledError
from comfyui_runtime.run.cancellation import Cancellation
from handler.contract.errors import (
    FetchError,
    FetchUnavailableError,
    ForbiddenAddressError,
    InputTooLargeError,
)

KEYS = {"bucket_access_key_id": "key", "bucket_secret_access_key": "secret"}


@pytest.fixture(scope="module")
def bucket(s3_url, photo):
    """The results' bucket, with a photo in it; two more buckets stand beside it."""
    client = boto3.client(
        "s3",
        endpoint_url=s3_url,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )
    for name in ("input-results", "input-uploads", "input-private"):
        client.create_bucket(Bucket=name)
        client.put_object(Bucket=name, Key="in/my photo+é.png", Body=photo)
    client.close()
    return "input-results"


@pytest.fixture
def fetch_object(fetch, s3_url, bucket):
    def run(source, cancellation=None, **settings):
        return fetch(
            source,
            cancellation,
            **{"bucket_endpoint_url": s3_url, "bucket_region": "us-east-1"}
            | KEYS
            | {"bucket_name": bucket, "bucket_attempts": 1}
            | {"input_buckets": frozenset({bucket})}
            | settings,
        )

    return run


@pytest.mark.parametrize("name", ["input-results", "input-uploads"])
def test_an_object_of_an_opened_bucket_is_read(fetch_object, pixels, name):
    source = f"s3://{name}/in/my photo+é.png"
    assert (fetch_object(source, input_buckets={name}).pixels == pixels).all()


@pytest.mark.parametrize("endpoint_names_it", [False, True])
@pytest.mark.fault(
    "A caller names an object of the results bucket",
    "it is refused",
)
def test_the_results_bucket_is_not_open_to_callers(fetch_object, s3_url, endpoint_names_it):
    """Whoever knows or guesses a key would read the pictures of others."""
    own = {"bucket_endpoint_url": f"{s3_url}/input-results", "bucket_name": None}
    with pytest.raises(ForbiddenAddressError, match="INPUT_BUCKETS"):
        fetch_object(
            "s3://input-results/in/my photo+é.png",
            input_buckets=frozenset(),
            **(own if endpoint_names_it else {}),
        )


@pytest.mark.parametrize(
    "name", ["input-private", "input-resultsx", "input-result", "Input-Results", "../input-private"]
)
def test_any_other_bucket_is_forbidden(fetch_object, name):
    with pytest.raises(ForbiddenAddressError, match="INPUT_BUCKETS"):
        fetch_object(f"s3://{name}/in/my photo+é.png", input_buckets={"input-uploads"})


def test_without_any_bucket_every_object_is_forbidden(fetch):
    with pytest.raises(ForbiddenAddressError):
        fetch("s3://input-private/in/my photo+é.png")


def test_an_object_that_does_not_exist_is_a_fetch_error(fetch_object):
    with pytest.raises(FetchError, match="NoSuchKey") as caught:
        fetch_object("s3://input-results/missing.png")
    assert caught.value.details["url"] == "s3://input-results/missing.png"
    assert not caught.value.retryable


def test_a_bucket_that_does_not_exist_is_a_fetch_error(fetch_object):
    with pytest.raises(FetchError, match="NoSuchBucket"):
        fetch_object("s3://gone/a.png", input_buckets={"gone"})


def test_an_object_of_too_many_bytes_is_refused(fetch_object):
    with pytest.raises(InputTooLargeError, match="INPUT_MAX_BYTES"):
        fetch_object("s3://input-results/in/my photo+é.png", input_max_bytes=50)


def test_a_storage_that_refuses_the_key_is_a_fetch_error(fetch_object, site):
    site.page("/input-results/a.png", b"<Error><Code>AccessDenied</Code></Error>", status=403)
    with pytest.raises(FetchError, match="AccessDenied"):
        fetch_object("s3://input-results/a.png", bucket_endpoint_url=site.url(""))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_storage_that_fails_is_unavailable(fetch_object, site, status):
    site.page("/input-results/a.png", b"<Error><Code>SlowDown</Code></Error>", status=status)
    with pytest.raises(FetchUnavailableError, match="SlowDown"):
        fetch_object("s3://input-results/a.png", bucket_endpoint_url=site.url(""))


def test_a_storage_that_is_away_is_unavailable(fetch_object):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(FetchUnavailableError, match="could not be read"):
        fetch_object("s3://input-results/a.png", bucket_endpoint_url=f"http://127.0.0.1:{port}")


def test_a_worker_without_keys_says_so(fetch_object, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(FetchError, match="BUCKET_ACCESS_KEY_ID"):
        fetch_object(
            "s3://input-results/a.png", bucket_access_key_id=None, bucket_secret_access_key=None
        )


def test_a_cancelled_job_stops_reading_between_chunks(fetch_object, site, photo):
    cancellation = Cancellation()

    def drip(request):
        request.send_response(200)
        request.send_header("Content-Length", "2000000")
        request.end_headers()
        request.wfile.write(b"x" * 300_000)
        cancellation.cancel()
        request.wfile.write(b"x" * 1_700_000)

    site.script("/input-results/a.png", drip)
    with pytest.raises(CancelledError):
        fetch_object("s3://input-results/a.png", cancellation, bucket_endpoint_url=site.url(""))


def test_an_object_that_takes_too_long_is_unavailable(fetch_object, site):
    stop = threading.Event()

    def drip(request):
        request.send_response(200)
        request.send_header("Content-Length", "2000000")
        request.end_headers()
        while not stop.wait(0.05):
            request.wfile.write(b"x" * 100_000)

    site.script("/input-results/a.png", drip)
    with pytest.raises(FetchUnavailableError, match=r"within 0\.2 s"):
        fetch_object(
            "s3://input-results/a.png", bucket_endpoint_url=site.url(""), input_timeout=0.2
        )
    stop.set()
