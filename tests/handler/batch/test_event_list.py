from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.batch.event_list import EventList
from handler.contract.errors import EventError

EVENT = {"input": {"workflow": "invert", "image": "https://x.test/größer.png"}}


@pytest.fixture
def events(tmp_path):
    def write(data: bytes | str) -> EventList:
        path = tmp_path / "events.jsonl"
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return EventList(path, tmp_path)

    return write


def text(*events: object) -> str:
    return "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events)


def test_each_line_is_an_event(events):
    first, second = {"id": "a", **EVENT}, {"id": "b", **EVENT}
    listed = events(text(first, second))
    assert [(job.job_id, job.source) for job in listed.jobs] == [("a", "line 1"), ("b", "line 2")]
    assert [listed.event(job) for job in listed.jobs] == [first, second]


def test_empty_lines_a_mark_of_byte_order_and_a_missing_end_change_nothing(events):
    listed = events(b"\xef\xbb\xbf\r\n" + text({"id": "a", **EVENT}).strip().encode())
    assert [(job.job_id, job.source) for job in listed.jobs] == [("a", "line 2")]
    assert listed.event(listed.jobs[0])["input"] == EVENT["input"]
    marked = events(b"\xef\xbb\xbf" + text({"id": "a", **EVENT}).encode())
    assert marked.event(marked.jobs[0])["id"] == "a"


def test_id_follows_from_the_content_and_not_from_the_place(events):
    other = {"input": {"workflow": "other"}}
    [job] = events(text(EVENT)).jobs
    assert job.job_id in {moved.job_id for moved in events(text(other, EVENT)).jobs}
    assert events(text(EVENT)).event(job)["id"] == job.job_id


def test_order_of_keys_does_not_change_the_id(events):
    [one] = events('{"input": {"workflow": "a", "image": "b"}}').jobs
    [two] = events('{"input": {"image": "b", "workflow": "a"}}').jobs
    assert one.job_id == two.job_id


def test_equal_events_without_an_id_are_jobs_of_their_own(events):
    ids = [job.job_id for job in events(text(EVENT, EVENT, EVENT)).jobs]
    assert len(set(ids)) == 3
    assert ids[1] == f"{ids[0]}-2"


def test_one_event_listed_twice_under_its_id_is_one_job(events):
    assert len(events(text({"id": "a", **EVENT}, {"id": "a", **EVENT})).jobs) == 1


def test_two_events_under_one_id_are_refused_with_both_places(events):
    with pytest.raises(EventError, match=r"line 1 and line 3 .* 'a'"):
        events(text({"id": "a", **EVENT}, EVENT, {"id": "a", "input": {}}))


def test_line_that_is_no_json_is_a_job_that_fails(events):
    listed = events("{\n" + text(EVENT))
    assert len(listed.jobs) == 2
    with pytest.raises(EventError, match="line 1 is not JSON"):
        listed.event(listed.jobs[0])


def test_photos_of_this_machine_are_put_into_the_event(events, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "photo.png").write_bytes(b"bytes")
    uri = "data:application/octet-stream;base64," + base64.b64encode(b"bytes").decode()
    images = {"a": "in/photo.png", "b": str(tmp_path / "in" / "photo.png"), "c": "s3://b/k"}
    listed = events(text({"input": {"image": "in/photo.png"}}, {"input": {"images": images}}))
    first, second = (listed.event(job)["input"] for job in listed.jobs)
    assert first == {"image": uri}
    assert second == {"images": {"a": uri, "b": uri, "c": "s3://b/k"}}


def test_list_that_changes_under_way_is_noticed(events, tmp_path):
    listed = events(text(EVENT))
    events(text({"input": {"workflow": "invert", "image": "https://x.test/kleiner.png"}}))
    with pytest.raises(EventError, match="changed"):
        listed.event(listed.jobs[0])


def test_list_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(EventError, match="No such file"):
        EventList(tmp_path / "events.jsonl", None)


@given(
    st.binary() | st.lists(st.sampled_from([b"{}", b'{"id": "a"}', b"[1]", b""])).map(b"\n".join)
)
def test_whatever_a_file_holds_is_a_list_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("list") / "events.jsonl"
    path.write_bytes(data)
    listed = EventList(path, None)
    assert len({job.job_id for job in listed.jobs}) == len(listed.jobs)
    for job in listed.jobs:
        try:
            listed.event(job)
        except EventError as error:
            assert "not JSON" in error.message  # noqa: PT017
