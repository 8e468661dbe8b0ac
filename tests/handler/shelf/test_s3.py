"""Which bucket the settings mean, and how its storage is spoken to."""

import os
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.contract.errors import ConfigurationError
from handler.settings import Settings
from handler.shelf.s3 import Bucket, resolve_bucket, s3_client

R2_ACCOUNT = "0123456789abcdef0123456789abcdef"
KEYS = {"bucket_access_key_id": "id", "bucket_secret_access_key": "secret"}


@pytest.fixture(autouse=True)
def _no_storage_in_the_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("AWS_", "BUCKET_", "S3_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))


def settings(**fields):
    return Settings(_env_file=None, **fields)


def test_no_bucket_is_meant_when_nothing_is_set():
    assert resolve_bucket(settings()) is None


def test_aws_needs_only_a_name():
    assert resolve_bucket(settings(bucket_name="photos")) == Bucket("photos", None, None)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://photos.s3.eu-west-1.amazonaws.com", Bucket("photos", None, "eu-west-1")),
        ("https://photos.s3.eu-west-1.amazonaws.com/", Bucket("photos", None, "eu-west-1")),
        ("https://s3.eu-west-1.amazonaws.com/photos", Bucket("photos", None, "eu-west-1")),
        ("https://s3-us-west-2.amazonaws.com/photos/", Bucket("photos", None, "us-west-2")),
        ("https://my.photos.s3.us-east-1.amazonaws.com", Bucket("my.photos", None, "us-east-1")),
        ("https://photos.s3.amazonaws.com", Bucket("photos", None, None)),
        ("https://photos.s3.cn-north-1.amazonaws.com.cn", Bucket("photos", None, "cn-north-1")),
        (
            "https://photos.s3.dualstack.eu-west-1.amazonaws.com",
            Bucket("photos", "https://s3.dualstack.eu-west-1.amazonaws.com", "eu-west-1"),
        ),
        (
            f"https://{R2_ACCOUNT}.r2.cloudflarestorage.com/photos",
            Bucket("photos", f"https://{R2_ACCOUNT}.r2.cloudflarestorage.com", "auto"),
        ),
        (
            f"https://photos.{R2_ACCOUNT}.eu.r2.cloudflarestorage.com",
            Bucket("photos", f"https://{R2_ACCOUNT}.eu.r2.cloudflarestorage.com", "auto"),
        ),
        (
            "https://photos.s3.us-west-004.backblazeb2.com",
            Bucket("photos", "https://s3.us-west-004.backblazeb2.com", "us-west-004"),
        ),
        (
            "https://photos.s3.fr-par.scw.cloud",
            Bucket("photos", "https://s3.fr-par.scw.cloud", "fr-par"),
        ),
        (
            "https://photos.nyc3.digitaloceanspaces.com",
            Bucket("photos", "https://nyc3.digitaloceanspaces.com", "nyc3"),
        ),
        (
            "https://s3api-eu-ro-1.runpod.io/photos",
            Bucket("photos", "https://s3api-eu-ro-1.runpod.io", "EU-RO-1"),
        ),
        ("http://127.0.0.1:9000/photos", Bucket("photos", "http://127.0.0.1:9000", None)),
        ("http://[::1]:9000/photos", Bucket("photos", "http://[::1]:9000", None)),
    ],
)
def test_name_and_region_are_taken_from_the_endpoint(address, expected):
    assert resolve_bucket(settings(bucket_endpoint_url=address)) == expected


def test_a_name_in_both_places_is_taken_once():
    both = settings(
        bucket_endpoint_url="https://photos.s3.eu-west-1.amazonaws.com",
        bucket_name="photos",
        bucket_region="eu-west-1",
    )
    assert resolve_bucket(both) == Bucket("photos", None, "eu-west-1")
    assert resolve_bucket(
        settings(bucket_endpoint_url="http://127.0.0.1:9000/photos", bucket_name="photos")
    ) == Bucket("photos", "http://127.0.0.1:9000", None)


def test_a_gateway_below_a_path_keeps_its_path():
    bucket = resolve_bucket(
        settings(bucket_endpoint_url="https://storage.example/v1/s3", bucket_name="photos")
    )
    assert bucket == Bucket("photos", "https://storage.example/v1/s3", None)


def test_r2_is_signed_for_its_own_region_whatever_the_machine_is_in():
    bucket = resolve_bucket(
        settings(
            bucket_endpoint_url=f"https://{R2_ACCOUNT}.r2.cloudflarestorage.com",
            bucket_name="photos",
            bucket_region="eu-west-1",
        )
    )
    assert bucket is not None
    assert bucket.region == "auto"


@pytest.mark.parametrize(
    ("fields", "mends"),
    [
        (
            {
                "bucket_endpoint_url": "https://photos.s3.eu-west-1.amazonaws.com",
                "bucket_name": "pictures",
            },
            "BUCKET_NAME",
        ),
        (
            {
                "bucket_endpoint_url": "https://photos.s3.eu-west-1.amazonaws.com",
                "bucket_region": "us-east-1",
            },
            "BUCKET_REGION",
        ),
        ({"bucket_endpoint_url": "https://photos.s3.eu-west-1.amazonaws.com/other"}, "BUCKET_NAME"),
        ({"bucket_endpoint_url": "https://storage.example"}, "BUCKET_NAME"),
        ({"bucket_endpoint_url": "https://storage.example/v1/s3"}, "BUCKET_NAME"),
        ({"bucket_name": "a bucket"}, "BUCKET_NAME"),
        ({"bucket_endpoint_url": "storage.example/photos"}, "BUCKET_ENDPOINT_URL"),
        ({"bucket_endpoint_url": "ftp://storage.example/photos"}, "BUCKET_ENDPOINT_URL"),
        ({"bucket_endpoint_url": "https://storage.example:port/photos"}, "BUCKET_ENDPOINT_URL"),
        ({"bucket_endpoint_url": "https://id:key@storage.example/x"}, "BUCKET_ENDPOINT_URL"),
        ({"bucket_endpoint_url": "https://storage.example/x?key=1"}, "BUCKET_ENDPOINT_URL"),
    ],
)
def test_settings_that_cannot_work_name_the_variable_to_change(fields, mends):
    with pytest.raises(ConfigurationError, match=mends):
        resolve_bucket(settings(**fields))


def test_keys_in_an_address_are_not_repeated():
    with pytest.raises(ConfigurationError) as refused:
        resolve_bucket(settings(bucket_endpoint_url="https://id:hidden@storage.example/x"))
    assert "hidden" not in refused.value.message


ADDRESSES = st.text() | st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["http", "https"]),
    st.text("ab1.-@:[]%", max_size=20),
    st.sampled_from(["", ".s3.amazonaws.com", ".s3.eu-west-1.amazonaws.com", "s3.r1.scw.cloud"]),
    st.text("/ab.%2F?#", max_size=10),
)


@given(ADDRESSES)
def test_any_endpoint_gives_a_bucket_or_a_configuration_error(address):
    fields = settings(bucket_endpoint_url=address)
    try:
        bucket = resolve_bucket(fields)
    except ConfigurationError:
        return
    assert bucket is None or bucket.name


def presigned(client, key="job/0.png"):
    return urlsplit(
        client.generate_presigned_url(
            "get_object", Params={"Bucket": "photos", "Key": key}, ExpiresIn=60
        )
    )


def test_aws_addresses_put_the_bucket_in_the_host_of_its_region():
    url = presigned(s3_client(settings(bucket_region="eu-west-1", **KEYS)))
    assert url.hostname == "photos.s3.eu-west-1.amazonaws.com"
    assert parse_qs(url.query)["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]


def test_custom_endpoints_get_the_bucket_in_the_path_unless_told_otherwise():
    address = {"bucket_endpoint_url": "https://storage.example", **KEYS}
    assert presigned(s3_client(settings(**address))).path == "/photos/job/0.png"
    virtual = presigned(s3_client(settings(bucket_addressing="virtual", **address)))
    assert virtual.hostname == "photos.storage.example"


def test_only_the_settings_choose_the_endpoint(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    fields = settings(
        bucket_endpoint_url="https://photos.s3.eu-west-1.amazonaws.com",
        **KEYS,
    )
    assert presigned(s3_client(fields)).hostname == "photos.s3.eu-west-1.amazonaws.com"


def test_keys_are_boto3s_to_find_when_the_settings_have_none(monkeypatch):
    fields = settings(bucket_name="photos", bucket_region="eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from-the-chain")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    query = parse_qs(presigned(s3_client(fields)).query)
    assert query["X-Amz-Credential"][0].startswith("from-the-chain/")


def test_attempts_and_timeouts_are_the_settings():
    config = s3_client(settings(bucket_attempts=7, bucket_timeout=3.5, **KEYS)).meta.config
    assert config.retries == {"total_max_attempts": 7, "mode": "standard"}
    assert (config.connect_timeout, config.read_timeout) == (3.5, 3.5)


def test_a_region_that_boto3_refuses_is_a_configuration_error():
    with pytest.raises(ConfigurationError, match="EU \\(Ireland\\)"):
        s3_client(settings(bucket_region="EU (Ireland)"))
