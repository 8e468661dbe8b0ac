"""The key of a result: one job, one place."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from handler.contract.job_id import JobId
from handler.shelf import result_key

# Ids as any text makes them; and ids of the characters that matter.
JOB_IDS = (st.text(min_size=1, max_size=400) | st.text("_-.2Ee7a", min_size=1, max_size=8)).map(
    JobId.of
)
SEGMENT = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=12).filter(
    lambda text: not text.startswith(".")
)
PREFIXES = st.lists(SEGMENT, max_size=4).map("/".join)
RESULTS = st.tuples(JOB_IDS, st.integers(0, 99), st.sampled_from(["png", "jpg"]), PREFIXES)


@given(RESULTS, RESULTS)
@example((JobId.of("a/b"), 0, "png", ""), (JobId.of("b"), 0, "png", "a"))
@example((JobId.of("a%2Fb"), 0, "png", ""), (JobId.of("a/b"), 0, "png", ""))
@example((JobId.of("%2E"), 0, "png", ""), (JobId.of("."), 0, "png", ""))
@example((JobId.of(".."), 0, "png", ""), (JobId.of("."), 0, "png", ""))
@example((JobId.of(".a"), 0, "png", ""), (JobId.of("_a"), 0, "png", ""))
def test_two_results_share_a_key_only_if_they_are_the_same(one, other):
    assert (result_key(*one) == result_key(*other)) == (one == other)


@given(RESULTS)
def test_a_key_is_safe_in_any_path_and_of_fixed_depth(result):
    job_id, index, extension, prefix = result
    *folders, job, name = result_key(job_id, index, extension, prefix).split("/")
    assert "/".join(folders).replace("%2E", ".") == prefix
    assert name == f"{index}.{extension}"
    assert job.replace("%2E", ".") == job_id
    assert not set(job) - set(string.ascii_letters + string.digits + "-._%")
    assert 0 < len(job) <= 255
    assert not job.startswith(".")


def test_usual_ids_stay_readable():
    assert result_key(JobId("sync-5f1c_2.a-u1"), 0, "png", "me") == "me/sync-5f1c_2.a-u1/0.png"


@pytest.mark.parametrize("extension", ["", "../x", "p/g", ".png", "pñg"])
def test_an_extension_cannot_change_the_depth(extension):
    with pytest.raises(ValueError, match="extension"):
        result_key(JobId("job"), 0, extension, "")


@given(RESULTS, RESULTS)
@example((JobId.of("d-6"), 0, "png", ""), (JobId.of("x"), 0, "png", "d-6/0.png"))
@example((JobId.of("d-6"), 0, "png", ""), (JobId.of("0.png"), 0, "png", "d-6"))
@example((JobId.of("d"), 0, "png", "a"), (JobId.of("0"), 0, "png", "a/d/0.png/0"))
@pytest.mark.fault(
    "Two keys could collide",
    "no key is a folder of another",
)
def test_no_key_is_a_folder_of_another(one, other):
    assert not result_key(*other).startswith(f"{result_key(*one)}/")
