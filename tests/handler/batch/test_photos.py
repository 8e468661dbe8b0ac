from __future__ import annotations

import base64
import os

import pytest

from handler.batch.photos import (
    bucket_photos,
    check_results_are_elsewhere,
    folder_photos,
)
from handler.contract.errors import ConfigurationError, EventError
from handler.shelf import BucketAddress

JOB_INPUT = {"workflow": "invert", "params": {}}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "photos"
    for name in ("b.JPG", "a b.png", "trip/c.webp", "notes.txt", ".hidden.png", ".cache/d.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def test_photos_of_a_folder_are_jobs_by_name(folder):
    photos = folder_photos(folder, JOB_INPUT)
    assert [job.source for job in photos.jobs] == ["a b.png", "b.JPG", "trip/c.webp"]
    event = photos.event(photos.jobs[0])
    assert event["id"] == photos.jobs[0].job_id
    assert event["input"]["workflow"] == "invert"
    assert base64.b64decode(event["input"]["image"].partition(",")[2]) == b"a b.png"


def test_id_holds_the_photos_name_and_differs_by_place_and_by_what_is_asked_for(folder, tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "b.JPG").write_bytes(b"")
    first = folder_photos(folder, JOB_INPUT).jobs[1].job_id
    assert first.startswith("b-")
    assert folder_photos(folder, JOB_INPUT).jobs[1].job_id == first
    assert folder_photos(tmp_path / "more", JOB_INPUT).jobs[0].job_id != first
    assert folder_photos(folder, {**JOB_INPUT, "params": {"x": 1}}).jobs[1].job_id != first


def test_photo_that_was_changed_is_another_request_under_its_id(folder):
    before = folder_photos(folder, JOB_INPUT).jobs[1]
    (folder / "b.JPG").write_bytes(b"other")
    after = folder_photos(folder, JOB_INPUT).jobs[1]
    assert after.job_id == before.job_id
    assert after.fingerprint != before.fingerprint


def test_name_that_is_no_unicode_can_be_told(folder):
    path = os.fsencode(folder / "x") + b"\xff.png"
    with open(path, "wb"):  # noqa: PTH123 - a path of bytes
        pass
    sources = [job.source for job in folder_photos(folder, JOB_INPUT).jobs]
    assert "x\\udcff.png" in sources


def test_folder_without_photos_is_refused(tmp_path):
    with pytest.raises(EventError, match=r"no photo in .*\.jpg"):
        folder_photos(tmp_path, JOB_INPUT)


def test_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(EventError, match="no folder"):
        folder_photos(tmp_path / "nowhere", JOB_INPUT)


def test_photo_that_is_gone_fails_its_job(folder):
    photos = folder_photos(folder, JOB_INPUT)
    (folder / "b.JPG").unlink()
    with pytest.raises(EventError, match=r"b\.JPG cannot be read"):
        photos.event(photos.jobs[1])


def test_photos_of_a_bucket_are_named_in_their_events(s3, bucket, bucket_settings):
    for key in ("in/a.png", "in/trip/b.jpg", "in/notes.txt", "out/c.png"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    photos = bucket_photos(bucket_settings, BucketAddress(bucket, "in/"), JOB_INPUT)
    assert [job.source for job in photos.jobs] == ["a.png", "trip/b.jpg"]
    assert photos.event(photos.jobs[1])["input"]["image"] == f"s3://{bucket}/in/trip/b.jpg"


def test_object_that_was_changed_is_another_request_under_its_id(s3, bucket, bucket_settings):
    s3.put_object(Bucket=bucket, Key="in/a.png", Body=b"x")
    [before] = bucket_photos(bucket_settings, BucketAddress(bucket, "in/"), JOB_INPUT).jobs
    s3.put_object(Bucket=bucket, Key="in/a.png", Body=b"y")
    [after] = bucket_photos(bucket_settings, BucketAddress(bucket, "in/"), JOB_INPUT).jobs
    assert after.job_id == before.job_id
    assert after.fingerprint != before.fingerprint


@pytest.mark.parametrize(
    ("results", "photos"),
    [("/data/in", "/data/in"), ("/data/in/out/", "/data/in"), ("s3://b/in/x", "s3://b/in/")],
)
def test_results_among_the_photos_are_refused(results, photos):
    with pytest.raises(ConfigurationError, match="among the photos"):
        check_results_are_elsewhere(results, photos)


@pytest.mark.parametrize(
    ("results", "photos"),
    [("/data/in-out", "/data/in"), ("/data", "/data/in"), ("s3://b/out", "s3://b/in/")],
)
def test_results_beside_the_photos_are_fine(results, photos):
    check_results_are_elsewhere(results, photos)
