"""Models that workflows lack, fetched to the volume over real HTTP and from a bucket of moto's."""

from __future__ import annotations

import threading
import time

import boto3
import pytest
from provisioning_support.content import safetensors, sha256

from comfyui_runtime.errors import CancelledError, MissingModelError
from comfyui_runtime.run.cancellation import Cancellation
from handler.contract.errors import ConfigurationError
from handler.models.fetching import ModelFetching
from handler.models.lock import only_fetch
from handler.models.needed import needed_models

STYLE = safetensors(b"style" * 50_000)
NAME = "style.safetensors"


def entry(address, content=STYLE, out=NAME, folder="loras"):
    checksum = f"  checksum=sha-256={sha256(content)}\n" if content is not None else ""
    return f"{address}\n  dir={folder}\n  out={out}\n{checksum}"


def run(settings, timeout=20.0, names=(NAME,)):
    """Fetch what is missing, and wait for it."""
    fetching = ModelFetching(settings, needed_models(settings))
    fetching.start()
    try:
        fetching.wait_for(names, Cancellation(timeout))
    finally:
        fetching.close()
    return fetching


def test_a_missing_model_is_fetched_to_the_volume(host, volume, make_settings):
    host.files["/style"] = STYLE
    run(make_settings(entry(host.address("/style"))))
    assert (volume / "loras" / NAME).read_bytes() == STYLE
    assert [path.name for path in (volume / "loras").iterdir()] == [NAME]


def test_a_model_that_is_there_is_left_alone(host, volume, make_settings):
    (volume / "loras").mkdir()
    (volume / "loras" / NAME).write_bytes(STYLE)
    run(make_settings(entry(host.address("/style"))))
    assert host.requests == []


def test_a_fetch_goes_on_where_a_killed_process_ended(host, volume, make_settings, tmp_path):
    host.files["/style"] = STYLE
    settings = make_settings(entry(host.address("/style")))
    host.seconds_per_chunk = 0.3
    first = ModelFetching(settings, needed_models(settings))
    first.start()
    part = volume / "loras" / f"{NAME}.part"
    ends_at = time.monotonic() + 10
    while not (part.exists() and part.stat().st_size) and time.monotonic() < ends_at:
        time.sleep(0.01)
    first.close()
    with pytest.raises(MissingModelError):
        first.wait_for([NAME], Cancellation(10))
    arrived = part.stat().st_size
    assert arrived > 0
    host.seconds_per_chunk = 0.0
    run(settings)
    assert (volume / "loras" / NAME).read_bytes() == STYLE
    assert host.requests[-1].start == arrived


def test_a_file_that_changed_meanwhile_is_fetched_anew(host, volume, make_settings):
    host.files["/style"] = STYLE
    (volume / "loras").mkdir()
    (volume / "loras" / f"{NAME}.part").write_bytes(b"x" * 100)
    state = f'{{"address": "{host.address("/style")}", "tag": "\\"old\\"", "size": 7}}'
    (volume / "loras" / f"{NAME}.part.from").write_text(state)
    run(make_settings(entry(host.address("/style"))))
    assert (volume / "loras" / NAME).read_bytes() == STYLE


def test_another_file_than_listed_is_refused_and_the_error_says_so(host, volume, make_settings):
    host.files["/style"] = safetensors(b"other")
    with pytest.raises(MissingModelError, match=f"sha256 .* and {sha256(STYLE)} was expected") as e:
        run(make_settings(entry(host.address("/style"))))
    assert "loras/style.safetensors" in e.value.message
    assert not list((volume / "loras").glob(f"{NAME}*"))


def test_a_login_page_is_no_model(host, make_settings):
    host.files["/style"] = b"<html>Log in</html>"
    with pytest.raises(MissingModelError, match=r"no model: it is a web page.*token"):
        run(make_settings(entry(host.address("/style"), None)))


def test_the_second_address_serves_where_the_first_fails(host, volume, make_settings):
    host.files["/style"] = STYLE
    run(make_settings(entry(f"{host.address('/gone')}\t{host.address('/style')}")))
    assert (volume / "loras" / NAME).exists()


def test_a_missing_address_is_named(host, make_settings):
    with pytest.raises(MissingModelError, match="status 404: correct the address"):
        run(make_settings(entry(host.address("/gone"))))


def test_what_failed_for_a_while_is_fetched_when_a_later_job_needs_it(
    host, volume, make_settings, monkeypatch
):
    monkeypatch.setattr("handler.models.fetching._TRY_AGAIN_AFTER", 0.0)
    host.files["/style"] = STYLE
    settings = make_settings(entry(host.address("/style")), models_fetch_timeout=0.5)
    fetching = ModelFetching(settings, needed_models(settings))
    host.seconds_per_chunk = 1.0
    fetching.start()
    while fetching._pending:
        time.sleep(0.02)
    host.seconds_per_chunk = 0.0
    fetching.wait_for([NAME], Cancellation(10))
    fetching.close()
    assert (volume / "loras" / NAME).read_bytes() == STYLE


def test_a_model_that_no_list_has_says_where_to_put_its_address(make_settings):
    with pytest.raises(MissingModelError, match=r"no entry of models\.txt says where"):
        run(make_settings())


def test_jobs_that_need_no_missing_model_do_not_wait(host, make_settings):
    host.files["/style"] = STYLE
    host.seconds_per_chunk = 1.0
    settings = make_settings(entry(host.address("/style")))
    fetching = ModelFetching(settings, needed_models(settings))
    fetching.start()
    started = time.monotonic()
    fetching.wait_for(["other.safetensors"], Cancellation(10))
    assert time.monotonic() - started < 0.5
    fetching.close()


def test_the_wait_ends_when_the_job_is_cancelled_and_does_not_count(host, make_settings):
    host.files["/style"] = STYLE
    host.seconds_per_chunk = 1.0
    settings = make_settings(entry(host.address("/style")))
    fetching = ModelFetching(settings, needed_models(settings))
    fetching.start()
    cancellation = Cancellation(0.2)
    threading.Timer(0.6, cancellation.cancel).start()
    with pytest.raises(CancelledError):
        fetching.wait_for([NAME], cancellation)
    fetching.close()


@pytest.mark.slow
def test_one_worker_fetches_and_another_waits(host, volume, make_settings):
    host.files["/style"] = STYLE
    host.seconds_per_chunk = 0.3
    settings = make_settings(entry(host.address("/style")))
    workers = [ModelFetching(settings, needed_models(settings)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.wait_for([NAME], Cancellation(20))
        worker.close()
    assert len(host.requests) == 1
    assert (volume / "loras" / NAME).read_bytes() == STYLE


def test_the_wait_for_another_worker_has_an_end(host, volume, make_settings):
    settings = make_settings(entry(host.address("/style")), models_fetch_timeout=0.5)
    with only_fetch(volume / "loras" / NAME) as alone:
        assert alone
        with pytest.raises(MissingModelError, match="MODELS_FETCH_TIMEOUT_SECONDS"):
            run(settings)


def test_a_token_is_sent_to_its_own_host_only(host, make_settings, monkeypatch):
    host.tokens["/style"] = "secret"
    host.redirects["/style"] = host.address("/storage").replace("127.0.0.1", "localhost")
    host.files["/storage"] = STYLE
    monkeypatch.setattr("handler.models.fetching.tokens", lambda _: {host.host: "secret"})
    run(make_settings(entry(host.address("/style"))))
    sent = {request.path: request.authorization for request in host.requests}
    assert sent == {"/style": "Bearer secret", "/storage": None}


def test_a_model_is_fetched_from_a_private_bucket(s3_url, bucket, volume, make_settings):
    client = boto3.client(
        "s3",
        endpoint_url=s3_url,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )
    client.put_object(Bucket=bucket, Key="models/style", Body=STYLE)
    settings = make_settings(
        entry(f"s3://{bucket}/models/style"),
        bucket_endpoint_url=s3_url,
        bucket_name="results",
        bucket_access_key_id="key",
        bucket_secret_access_key="secret",
        bucket_region="us-east-1",
    )
    run(settings)
    assert (volume / "loras" / NAME).read_bytes() == STYLE


def test_an_object_that_is_not_there_is_named(s3_url, bucket, make_settings):
    settings = make_settings(
        entry(f"s3://{bucket}/gone"),
        bucket_endpoint_url=s3_url,
        bucket_name="results",
        bucket_access_key_id="key",
        bucket_secret_access_key="secret",
        bucket_region="us-east-1",
    )
    with pytest.raises(MissingModelError, match=f"s3://{bucket}/gone cannot be read"):
        run(settings)


@pytest.mark.parametrize("revision", ["main", "a" * 40])
def test_a_file_of_hugging_faces_cache_is_used_and_not_fetched(
    revision, volume, make_settings, tmp_path
):
    snapshot = tmp_path / "hub" / "models--owner--name" / "snapshots" / ("a" * 40)
    (snapshot / "deep").mkdir(parents=True)
    (snapshot / "deep" / NAME).write_bytes(STYLE)
    address = f"https://huggingface.co/owner/name/resolve/{revision}/deep/{NAME}"
    run(make_settings(entry(address)))
    assert (volume / "loras" / NAME).resolve() == snapshot / "deep" / NAME


def test_a_link_to_a_cache_that_is_gone_is_replaced(host, volume, make_settings, tmp_path):
    host.files["/style"] = STYLE
    (volume / "loras").mkdir()
    (volume / "loras" / NAME).symlink_to(tmp_path / "gone")
    run(make_settings(entry(host.address("/style"))))
    assert not (volume / "loras" / NAME).is_symlink()


def test_only_the_workflows_that_the_setting_names_count(host, make_settings):
    settings = make_settings(entry(host.address("/style")), fetch_workflows="styled")
    assert [str(model.path) for model in needed_models(settings)] == [f"loras/{NAME}"]


def test_a_list_that_cannot_be_read_stops_the_start(make_settings):
    settings = make_settings("  dir=loras\n")
    with pytest.raises(ConfigurationError, match="MODELS_LIST"):
        needed_models(settings)


def test_the_folder_of_the_newer_name_serves_the_older_kind(host, volume, make_settings, tmp_path):
    manifest = tmp_path / "workflows" / "styled" / "manifest.toml"
    manifest.write_text(manifest.read_text().replace('"loras"', '"clip"'))
    host.files["/style"] = STYLE
    run(make_settings(entry(host.address("/style"), folder="text_encoders")))
    assert (volume / "text_encoders" / NAME).exists()
