"""Models that events name by URL: hosts, content, and what the cache keeps."""

from __future__ import annotations

import os
import pickle
import threading

import pytest
from provisioning_support.content import safetensors

from comfyui_runtime.run.cancellation import Cancellation
from handler.contract.errors import (
    FetchError,
    FetchUnavailableError,
    ForbiddenAddressError,
    InputError,
    InputTooLargeError,
    NotMediaError,
)
from handler.models.by_url import UrlModels
from handler.settings import load_settings

STYLE = safetensors(b"style" * 1000)


@pytest.fixture
def make_cache(host, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def make(**updates):
        values = {
            "model_url_hosts": host.host,
            "model_url_cache_dir": tmp_path / "cache",
            "input_allowed_hosts": "127.0.0.1",
            "device": "cpu",
            **updates,
        }
        cache = UrlModels(load_settings(**values))
        cache.make_folder()
        return cache

    return make


@pytest.fixture
def cache(make_cache):
    return make_cache()


def get(cache, address, folder="loras"):
    with cache.for_job() as job:
        return job.name_of(folder, address, Cancellation(20))


def kept(tmp_path):
    return {path.name for path in (tmp_path / "cache").rglob("*.safetensors")}


def test_a_model_is_fetched_once_and_kept_in_its_folder(host, cache, tmp_path):
    host.files["/style"] = STYLE
    name = get(cache, host.address("/style"))
    assert get(cache, host.address("/style")) == name
    assert (tmp_path / "cache" / "loras" / name).read_bytes() == STYLE
    assert len(host.requests) == 1


def test_other_queries_are_other_models(host, cache):
    host.files["/style?id=1"] = host.files["/style?id=2"] = STYLE
    first = get(cache, host.address("/style?id=1"))
    assert get(cache, host.address("/style?id=2")) != first


def test_hosts_that_no_setting_names_are_refused(cache):
    with pytest.raises(ForbiddenAddressError, match="MODEL_URL_HOSTS"):
        get(cache, "https://example.com/style.safetensors")


def test_without_hosts_every_address_is_refused(host, make_cache):
    with pytest.raises(ForbiddenAddressError, match="MODEL_URL_HOSTS"):
        get(make_cache(model_url_hosts=""), host.address("/style"))


def test_plain_http_is_refused(make_cache):
    with pytest.raises(ForbiddenAddressError, match="https"):
        get(make_cache(model_url_hosts="example.com"), "http://example.com/style")


def test_a_named_host_in_a_private_network_is_refused(host, make_cache):
    with pytest.raises(ForbiddenAddressError, match="loopback"):
        get(make_cache(input_allowed_hosts=""), host.address("/style"))


def test_a_redirect_into_a_private_network_is_refused(host, cache):
    host.redirects["/style"] = "http://169.254.169.254/latest"
    with pytest.raises(ForbiddenAddressError, match="metadata"):
        get(cache, host.address("/style"))


def test_tokens_of_the_worker_are_not_sent(host, make_cache):
    host.files["/style"] = STYLE
    get(make_cache(hf_token="secret-token", civitai_token="secret-token"), host.address("/style"))
    assert [request.authorization for request in host.requests] == [None]


@pytest.mark.parametrize(
    "content", [pickle.dumps({"weight": 1}), b"<html></html>", STYLE[:-10], b""]
)
def test_only_whole_safetensors_files_are_taken(host, cache, tmp_path, content):
    host.files["/style.safetensors"] = content
    with pytest.raises(NotMediaError, match="safetensors"):
        get(cache, host.address("/style.safetensors"))
    assert kept(tmp_path) == set()


def test_a_model_may_not_be_too_large(host, make_cache):
    host.files["/style"] = STYLE
    with pytest.raises(InputTooLargeError, match="MODEL_URL_MAX_BYTES"):
        get(make_cache(model_url_max_bytes=100), host.address("/style"))


def test_a_missing_model_is_an_error_without_its_query(host, cache):
    with pytest.raises(FetchError, match="404") as caught:
        get(cache, host.address("/gone?token=c0ffee"))
    assert "c0ffee" not in caught.value.message + str(caught.value.details)


@pytest.mark.slow
def test_a_slow_host_is_given_up_and_its_bytes_are_kept(host, make_cache, tmp_path):
    host.files["/style"] = safetensors(b"x" * 500_000)
    host.seconds_per_chunk = 0.4
    cache = make_cache(model_url_timeout=1.0)
    with pytest.raises(FetchUnavailableError, match="MODEL_URL_TIMEOUT_SECONDS"):
        get(cache, host.address("/style"))
    host.seconds_per_chunk = 0.0
    get(cache, host.address("/style"))
    assert host.requests[-1].start > 0


@pytest.mark.parametrize("folder", ["../loras", "", "a/b"])
def test_no_folder_leads_out_of_the_cache(host, cache, folder):
    with pytest.raises(InputError):
        get(cache, host.address("/style"), folder)


def test_what_was_not_used_for_longest_goes_first(host, make_cache, tmp_path):
    cache = make_cache(model_url_cache_max_bytes=2 * len(STYLE) + 10)
    names = []
    for number in range(2):
        host.files[f"/{number}"] = STYLE
        names.append(get(cache, host.address(f"/{number}")))
    get(cache, host.address("/0"))
    host.files["/2"] = STYLE
    names.append(get(cache, host.address("/2")))
    assert kept(tmp_path) == {names[0], names[2]}


def test_what_a_job_uses_stays_whatever_the_limit(host, make_cache, tmp_path):
    caches = [make_cache(model_url_cache_max_bytes=10) for _ in range(2)]
    host.files["/used"] = host.files["/other"] = STYLE
    with caches[0].for_job() as job:
        name = job.name_of("loras", host.address("/used"), Cancellation(20))
        # Another worker's jobs.
        other = get(caches[1], host.address("/other"))
        assert kept(tmp_path) == {name, other}
    get(caches[1], host.address("/other"))
    assert kept(tmp_path) == {other}


def test_use_leaves_the_time_of_change(host, cache, tmp_path):
    host.files["/style"] = STYLE
    path = tmp_path / "cache" / "loras" / get(cache, host.address("/style"))
    os.utime(path, (1, 1))
    get(cache, host.address("/style"))
    assert path.stat().st_mtime == 1
    assert path.stat().st_atime > 1


def test_jobs_at_the_same_time_fetch_it_once(host, cache):
    host.files["/style"] = STYLE
    host.seconds_per_chunk = 0.3
    threads = [threading.Thread(target=get, args=(cache, host.address("/style"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(host.requests) == 1
