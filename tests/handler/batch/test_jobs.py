from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.batch.jobs import BatchJob, Shard
from handler.contract.errors import ConfigurationError


@given(st.lists(st.text(), unique=True), st.integers(1, 20))
def test_every_job_is_in_exactly_one_share(job_ids, count):
    jobs = [BatchJob(index, job_id, "", "") for index, job_id in enumerate(job_ids)]
    shards = [Shard.parse(f"{index}/{count}") for index in range(count)]
    assert all(sum(shard.has(job) for shard in shards) == 1 for job in jobs)


def test_shares_are_of_about_one_size():
    jobs = [BatchJob(index, f"job-{index}", "", "") for index in range(1000)]
    sizes = [sum(Shard(index, 8).has(job) for job in jobs) for index in range(8)]
    assert min(sizes) > 90


@pytest.mark.parametrize("text", ["", "1", "8/8", "-1/8", "0/0", "1/2/3", "a/b", "0/"])
def test_share_that_is_none_is_refused(text):
    with pytest.raises(ConfigurationError, match="I/N"):
        Shard.parse(text)
