from __future__ import annotations

import time
import uuid

from handler.api_v2.ids import (
    created_at,
    flipped,
    is_job_id,
    new_job_id,
    output_id,
    read_output_id,
)


def test_ids_are_uuids_that_sort_by_time():
    ids = []
    for _ in range(50):
        ids.append(new_job_id())
        time.sleep(0.0005)
    assert ids == sorted(ids)
    assert {uuid.UUID(job_id).version for job_id in ids} == {7}
    assert all(is_job_id(job_id) for job_id in ids)
    assert abs(created_at(ids[-1]) - time.time()) < 1


def test_flipped_ids_sort_the_other_way():
    ids = []
    for _ in range(20):
        ids.append(new_job_id())
        time.sleep(0.0005)
    turned = sorted(flipped(job_id) for job_id in ids)
    assert [flipped(job_id) for job_id in turned] == ids[::-1]


def test_output_tells_its_job_and_place():
    job_id = new_job_id()
    for place in (0, 15, 4095):
        asset_id = output_id(job_id, place)
        assert uuid.UUID(asset_id).version == 8
        assert read_output_id(asset_id) == (job_id, place)
    assert read_output_id(str(uuid.uuid4())) is None
    assert not is_job_id(str(uuid.uuid4()))
