"""Results in a bucket, over real HTTP."""

import logging
import socket
import urllib.request
from urllib.parse import urlsplit

import pytest

from handler.contract.errors import StorageError, StorageUnavailableError
from handler.contract.job_id import JobId
from handler.shelf import open_storage, result_key

from .conftest import sha256, store


def fetch(url):
    with urllib.request.urlopen(url, timeout=5) as response:
        return response.read(), response.headers


def objects(s3, bucket):
    return {entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket).get("Contents", [])}


def test_a_presigned_url_serves_the_bytes_with_their_type(bucket_settings, photo):
    storage = open_storage(bucket_settings(cache_control="private, max-age=60"))

    stored = store(storage, photo, result_key("job-1", 0, "png", ""))

    body, headers = fetch(stored.url)
    assert stored.key == "job-1/0.png"
    assert body == photo
    assert headers["Content-Type"] == "image/png"
    assert headers["Cache-Control"] == "private, max-age=60"
    assert headers["Content-Disposition"] == 'inline; filename="job-1-0.png"'
    assert headers["x-amz-meta-sha256"] == sha256(photo)


def test_a_presigned_url_expires_when_the_caller_said(bucket_settings, photo):
    stored = store(open_storage(bucket_settings()), photo, "job/0.png", expires_in=1234)
    assert "X-Amz-Expires=1234" in urlsplit(stored.url).query


def test_the_installations_prefix_stands_before_the_events(bucket_settings, photo, s3, bucket):
    storage = open_storage(bucket_settings(bucket_prefix="/results/live/"))
    key = result_key("job", 1, "png", "customer-7")

    stored = store(storage, photo, key)

    assert stored.key == "results/live/customer-7/job/1.png"
    assert objects(s3, bucket) == {stored.key}
    assert fetch(stored.url)[0] == photo


def test_a_key_with_escapes_in_it_is_fetched_from_its_url(bucket_settings, photo, s3, bucket):
    key = "sync/ä ~1/0.png"
    for kind in ("presigned", "public"):
        stored = store(
            open_storage(bucket_settings()), photo, key, expires_in=None if kind == "public" else 60
        )
        assert objects(s3, bucket) == {key}
        if kind == "public":
            s3.put_object_acl(Bucket=bucket, Key=key, ACL="public-read")
        assert fetch(stored.url)[0] == photo


def test_a_public_url_has_no_signature(bucket_settings, photo, s3_url, bucket):
    stored = store(open_storage(bucket_settings()), photo, "job/0.png", expires_in=None)
    assert stored.url == f"{s3_url}/{bucket}/job/0.png"


def test_a_public_address_of_its_own_is_used(bucket_settings, photo):
    storage = open_storage(bucket_settings(bucket_public_url="https://images.example.com/"))
    key = result_key(JobId("0.png"), 0, "png", "")
    stored = store(storage, photo, key, expires_in=None)
    assert stored.url == "https://images.example.com/0%252Epng/0.png"


def test_a_repeated_job_replaces_its_result(bucket_settings, photo, s3, bucket):
    storage = open_storage(bucket_settings())
    first = store(storage, photo, "job/0.png")
    other = b"other bytes"

    second = store(storage, other, "job/0.png")

    assert first.key == second.key
    assert objects(s3, bucket) == {"job/0.png"}
    assert fetch(second.url)[0] == b"other bytes"


def test_two_jobs_never_share_an_object(bucket_settings, photo, s3, bucket):
    storage = open_storage(bucket_settings())
    for job in ("a", "A", "a/b", "a%2Fb", ".", "..", "", "x" * 300, "x" * 301):
        store(storage, photo, result_key(job, 0, "png", ""))
    assert len(objects(s3, bucket)) == 9


def test_a_check_that_passes_leaves_nothing_behind(bucket_settings, s3, bucket):
    open_storage(bucket_settings(bucket_prefix="results")).check()
    assert objects(s3, bucket) == set()


def test_a_missing_bucket_names_the_setting(bucket_settings, photo):
    storage = open_storage(bucket_settings(bucket_name="not-there"))
    for attempt in (storage.check, lambda: store(storage, photo, "job/0.png")):
        with pytest.raises(StorageError, match=r"not-there.*BUCKET_NAME") as refused:
            attempt()
        assert not refused.value.retryable
        assert refused.value.details["reason"] == "NoSuchBucket"


@pytest.mark.parametrize(
    ("answer", "mends"),
    [
        ((403, "AccessDenied"), "s3:PutObject"),
        ((403, "InvalidAccessKeyId"), "BUCKET_ACCESS_KEY_ID"),
        ((403, "SignatureDoesNotMatch"), "BUCKET_SECRET_ACCESS_KEY"),
        ((403, "RequestTimeTooSkewed"), "clock"),
        ((400, "ExpiredToken"), "BUCKET_SESSION_TOKEN"),
        ((400, "AuthorizationHeaderMalformed"), "BUCKET_REGION"),
        ((400, "EntityTooLarge"), "larger"),
        ((403, ""), "s3:PutObject"),
        ((404, ""), "BUCKET_NAME"),
        ((400, "SomethingNew"), r"SomethingNew.*BUCKET_"),
    ],
)
def test_a_refusal_says_which_setting_to_change(bucket_settings, photo, scripted, answer, mends):
    # With attempts to spare: a refusal is not worth another one.
    storage = open_storage(bucket_settings(bucket_endpoint_url=scripted.url, bucket_attempts=3))
    scripted.answers = [answer]

    with pytest.raises(StorageError, match=mends) as refused:
        store(storage, photo, "job/0.png")

    assert not refused.value.retryable
    assert refused.value.details["status"] == answer[0]
    assert len(scripted.requests) == 1


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, ""), (429, "")])
def test_a_failure_that_passes_is_retryable(bucket_settings, photo, scripted, status, code):
    storage = open_storage(bucket_settings(bucket_endpoint_url=scripted.url))
    scripted.answers = [(status, code)]
    with pytest.raises(StorageUnavailableError) as failed:
        store(storage, photo, "job/0.png")
    assert failed.value.retryable


def test_attempts_go_on_until_one_succeeds(bucket_settings, photo, scripted):
    storage = open_storage(bucket_settings(bucket_endpoint_url=scripted.url, bucket_attempts=3))
    scripted.answers = [(503, "SlowDown"), (500, "InternalError"), (200, "")]

    store(storage, photo, "job/0.png")

    assert [command for command, *_ in scripted.requests] == ["PUT"] * 3


def test_requests_carry_a_signed_body_and_no_checksum_of_amazons_own(
    bucket_settings, photo, scripted
):
    scripted.answers = [(200, "")]
    store(open_storage(bucket_settings(bucket_endpoint_url=scripted.url)), photo, "k/0.png")
    headers = scripted.requests[0][2]
    assert headers["x-amz-content-sha256"] == sha256(photo)
    assert not [name for name in headers if "checksum" in name.lower()]


def test_a_storage_that_nobody_listens_at_is_unavailable(bucket_settings, photo):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    storage = open_storage(bucket_settings(bucket_endpoint_url=url))
    with pytest.raises(StorageUnavailableError, match="could not be reached"):
        store(storage, photo, "job/0.png")


@pytest.mark.slow
def test_a_storage_that_does_not_answer_is_unavailable_in_time(bucket_settings, photo):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        storage = open_storage(bucket_settings(bucket_endpoint_url=url, bucket_timeout=0.2))
        with pytest.raises(StorageUnavailableError) as failed:
            store(storage, photo, "job/0.png")
    assert failed.value.details["reason"] == "ReadTimeoutError"


def test_missing_keys_are_told(settings, photo, s3_url):
    keyless = settings(bucket_endpoint_url=s3_url, bucket_name="photos")
    with pytest.raises(StorageError, match="BUCKET_ACCESS_KEY_ID"):
        store(open_storage(keyless), photo, "job/0.png")


def test_the_secret_is_in_no_error(bucket_settings, photo, scripted):
    storage = open_storage(
        bucket_settings(bucket_endpoint_url=scripted.url, bucket_secret_access_key="hidden-secret")
    )
    scripted.answers = [(403, "SignatureDoesNotMatch")]
    with pytest.raises(StorageError) as refused:
        store(storage, photo, "job/0.png")
    assert "hidden-secret" not in repr((refused.value.args, refused.value.details))


def test_a_check_needs_no_right_to_delete(bucket_settings, scripted, caplog):
    storage = open_storage(bucket_settings(bucket_endpoint_url=scripted.url, bucket_prefix="p"))
    scripted.answers = [(200, ""), (403, "AccessDenied")]
    with caplog.at_level(logging.WARNING):
        storage.check()
    assert [record.message for record in caplog.records] == ["storage_probe_left_behind"]
    assert {path.split("/", 2)[2].split("?")[0] for _, path, _ in scripted.requests} == {
        "p/.write-probe"
    }


def test_a_check_fails_where_writing_is_refused(bucket_settings, scripted):
    scripted.answers = [(403, "AccessDenied")]
    with pytest.raises(StorageError, match="s3:PutObject"):
        open_storage(bucket_settings(bucket_endpoint_url=scripted.url)).check()


def test_a_stored_object_is_read_and_known_by_its_content(bucket_settings, photo):
    storage = open_storage(bucket_settings(bucket_prefix="live"))
    stored = store(storage, photo, "job/0.png")
    assert storage.get("job/0.png") == photo
    assert storage.has("job/0.png", sha256(photo))
    assert not storage.has("job/0.png", "0" * 64)
    assert stored.key == "live/job/0.png"


def test_an_object_that_is_not_there_is_none(bucket_settings):
    storage = open_storage(bucket_settings())
    assert storage.get("job/0.png") is None
    assert not storage.has("job/0.png", "0" * 64)


def test_a_bucket_that_is_not_there_is_an_error_to_a_reader(bucket_settings):
    storage = open_storage(bucket_settings(bucket_name="no-such-bucket"))
    with pytest.raises(StorageError, match="BUCKET_NAME"):
        storage.get("job/0.png")


PAGES = [b"<!doctype html><p>Sign in", b"<html><body>Sign in</body></html>", b"Sign in"]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.fault(
    "A storage answers a PUT with a web page",
    "it does not count as stored",
)
def test_a_page_that_answers_for_the_storage_is_no_stored_object(
    bucket_settings, photo, scripted, page
):
    storage = open_storage(bucket_settings(bucket_endpoint_url=scripted.url))
    scripted.page = page
    for write in (storage.put, storage.create):
        scripted.answers = [(200, "")] * 2
        with pytest.raises(StorageUnavailableError):
            write("job/0.png", photo)
    scripted.answers = [(200, "")] * 2
    with pytest.raises(StorageUnavailableError):
        storage.check()


def test_an_object_whose_etag_says_nothing_is_looked_at_once_more(
    bucket_settings, photo, s3, monkeypatch
):
    storage = open_storage(bucket_settings())
    put = storage._client.put_object
    monkeypatch.setattr(
        storage._client, "put_object", lambda **sent: {**put(**sent), "ETag": '"of-another-kind-1"'}
    )
    storage.put("job/0.png", photo)
    assert storage.get("job/0.png") == photo
    monkeypatch.setattr(storage._client, "put_object", lambda **_: {"ETag": '"0"'})
    with pytest.raises(StorageUnavailableError):
        storage.put("job/1.png", photo)


def test_a_file_is_stored_as_bytes_are(bucket_settings, tmp_path, photo):
    storage = open_storage(bucket_settings())
    (tmp_path / "file").write_bytes(photo)
    with (tmp_path / "file").open("rb") as file:
        storage.put("file", file)
    assert storage.get("file") == photo
    assert storage.has("file", sha256(photo))
