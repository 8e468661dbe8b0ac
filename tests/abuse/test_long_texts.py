"""Texts of megabytes, from nodes and their libraries."""

from __future__ import annotations

import pytest

from comfyui_runtime.errors import NodeError, shortened
from handler.contract.job_id import JobId
from handler.contract.response import failure

LONG = "begins" + 5_000_000 * "é" + "ends"


@pytest.mark.fault(
    "A node's error text is long",
    "it is bounded, with its beginning and end",
)
def test_error_of_a_node_is_bounded_with_its_beginning_and_end():
    error = NodeError(LONG, type=LONG, allowed=[LONG, *map(str, range(100_000))], more={"a": LONG})
    body = failure(JobId("job"), error).to_json()["error"]
    assert body["message"].startswith("begins")
    assert body["message"].endswith("ends")
    assert f"[…{len(LONG) - 8000} characters…]" in body["message"]
    assert len(str(body)) < 100_000
    assert len(str(error)) < 10_000
    assert len(repr(error)) < 10_000


@pytest.mark.parametrize("length", [0, 1, 7_999, 8_000])
def test_text_that_is_not_long_stays_as_it_is(length):
    assert shortened("x" * length) == "x" * length
