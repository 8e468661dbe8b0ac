"""Which storage the settings mean."""

import pytest

from handler.contract.errors import ConfigurationError
from handler.shelf import BucketShelf, FolderShelf, open_storage

from .conftest import store


def test_without_a_bucket_results_go_to_the_folder(settings, photo, tmp_path):
    storage = open_storage(settings())
    assert isinstance(storage, FolderShelf)
    assert store(storage, photo, "j/0.png").url == (tmp_path / "results/j/0.png").as_uri()


def test_with_a_bucket_they_go_there(bucket_settings):
    assert isinstance(open_storage(bucket_settings()), BucketShelf)


@pytest.mark.parametrize(
    "prefix", ["../up", "a//b", "a/./b", "a/..", "spaces in it", "ä", "x" * 500]
)
def test_a_prefix_that_makes_bad_keys_is_refused(bucket_settings, prefix):
    with pytest.raises(ConfigurationError, match="BUCKET_PREFIX"):
        open_storage(bucket_settings(bucket_prefix=prefix))


@pytest.mark.parametrize("prefix", ["", "/", "results", "/results/live/", "a.b/..c/.d"])
def test_slashes_around_a_prefix_do_not_matter(bucket_settings, prefix, photo):
    stored = store(open_storage(bucket_settings(bucket_prefix=prefix)), photo, "j/0.png")
    assert stored.key == "/".join(part for part in (prefix.strip("/"), "j/0.png") if part)


def test_a_public_address_without_a_scheme_is_refused(bucket_settings):
    with pytest.raises(ConfigurationError, match="BUCKET_PUBLIC_URL"):
        open_storage(bucket_settings(bucket_public_url="images.example.com"))
