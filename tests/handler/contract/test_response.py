from __future__ import annotations

import json
from collections import Counter

import pytest

import comfyui_runtime.errors
import handler.contract.errors
from comfyui_runtime.errors import NodeError, OutOfMemoryError, ServiceError
from handler.contract.errors import InternalError
from handler.contract.job_id import JobId
from handler.contract.response import Success, Timings, failure


def test_failure_reports_the_error_as_callers_and_platforms_need_it():
    error = OutOfMemoryError("Ask for fewer pixels.", node_id="5", sizes=[64, 48])
    response = failure(JobId.of("job-1"), error, replace_worker=True)
    assert response.to_json() == {
        "status": "failed",
        "job_id": "job-1",
        "given_id": "job-1",
        "error": {
            "code": "out_of_memory",
            "message": "Ask for fewer pixels.",
            "retryable": True,
            "details": {"node_id": "5", "sizes": [64, 48]},
        },
    }
    assert response.http_status == 507
    assert response.replace_worker


def test_worker_stays_unless_said_otherwise():
    assert not failure(JobId.of("job-1"), InternalError("Broken.")).replace_worker


@pytest.mark.parametrize(
    "text", ["half of a pair \udcff", "caf\udce9.png"], ids=["half", "file name"]
)
def test_text_that_is_no_unicode_does_not_keep_a_failure_from_being_told(text):
    response = failure(
        JobId.of("job-1"), NodeError(f"Failed: {text}", file=text, more={"a": [text]})
    )
    json.dumps(response.to_json(), ensure_ascii=False).encode()
    assert "Failed: " in response.error.message


def test_details_that_are_no_json_do_not_keep_a_failure_from_being_told():
    choices = [1, 0.5, (1, 2), object, float("nan")]
    response = failure(JobId.of("job-1"), NodeError("Failed.", allowed=choices))
    assert response.error.message == "Failed."
    json.dumps(response.to_json(), allow_nan=False)


def test_seconds_of_the_validation_go_by_that_name():
    timings = Timings(fetch=1, validate=2, queue=3, run=4, encode=5, store=6, total=21)
    response = Success(
        job_id="j",
        workflow="w",
        workflow_version="1",
        seed=5,
        outputs=[],
        timings=timings,
        reused=False,
        cold_start=False,
    )
    assert response.to_json()["timings"] == {
        "fetch": 1,
        "validate": 2,
        "queue": 3,
        "run": 4,
        "encode": 5,
        "store": 6,
        "total": 21,
    }
    assert response.to_json()["status"] == "succeeded"


ERRORS = [
    kind
    for module in (comfyui_runtime.errors, handler.contract.errors)
    for kind in vars(module).values()
    if isinstance(kind, type)
    and issubclass(kind, ServiceError)
    and kind is not ServiceError
    and kind.__module__ == module.__name__
]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_tells_what_it_is_and_has_a_status(kind):
    response = failure(JobId.of("job-1"), kind("Change this."))
    assert response.error.code == kind.code
    assert response.error.retryable is kind.retryable
    assert 400 <= response.http_status < 600
    assert kind.__doc__


def test_codes_of_errors_are_their_own():
    codes = Counter(kind.code for kind in ERRORS)
    assert codes.most_common(1)[0][1] == 1, codes
