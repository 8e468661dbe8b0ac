from __future__ import annotations

import pytest

from comfyui_runtime.run.messages import (
    NodeFailed,
    NodesCached,
    NodeStarted,
    Refusal,
    RunInterrupted,
    RunStarted,
    StepDone,
    first_refusal,
    last_event,
    parse_message,
)

FAILURE = {
    "node_id": "4",
    "node_type": "KSampler",
    "exception_type": "torch.OutOfMemoryError",
    "exception_message": "CUDA out of memory.\n",
}


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("execution_start", {"prompt_id": "p"}, RunStarted()),
        ("execution_cached", {"nodes": ["1", "2"]}, NodesCached(("1", "2"))),
        ("executing", {"node": "7.0.1", "display_node": "7"}, NodeStarted("7")),
        ("executing", {"node": "7"}, NodeStarted("7")),
        ("executing", {"node": None}, NodeStarted(None)),
        ("progress", {"value": 3, "max": 20, "node": "7"}, StepDone(3, 20, "7")),
        ("progress", {"value": 3.0, "max": 20.0}, StepDone(3, 20, None)),
        (
            "execution_error",
            FAILURE,
            NodeFailed("4", "KSampler", "torch.OutOfMemoryError", "CUDA out of memory."),
        ),
        ("execution_interrupted", {"node_id": "4", "node_type": "A"}, RunInterrupted("4", "A")),
    ],
)
def test_messages_about_a_run_are_told_apart(name, data, expected):
    assert parse_message(name, data) == expected


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("status", {"sid": "x"}),
        ("executing", {}),
        ("executing", None),
        ("progress", {"value": "3", "max": 20}),
        ("execution_cached", {"nodes": None}),
        (1, {"node": "7"}),
    ],
)
def test_other_messages_say_nothing_of_a_run(name, data):
    assert parse_message(name, data) is None


@pytest.mark.parametrize(
    ("exception", "expected"),
    [
        ("torch.OutOfMemoryError", True),
        ("torch.cuda.OutOfMemoryError", True),
        ("MemoryError", True),
        ("ValueError", False),
    ],
)
def test_memory_that_ran_out_is_recognised_by_the_exceptions_name(exception, expected):
    assert NodeFailed("1", "A", exception, "").out_of_memory is expected


def test_last_message_tells_how_a_run_ended():
    started = ("execution_start", {})
    assert last_event([started, ("execution_error", FAILURE)]) == parse_message(
        "execution_error", FAILURE
    )
    assert last_event([("execution_error", FAILURE), ("execution_success", {})]) is None
    assert last_event([]) is None


def test_nodes_error_comes_before_the_one_that_sums_up():
    whole = {"type": "prompt_outputs_failed_validation", "message": "Failed", "details": ""}
    choice = {
        "type": "value_not_in_list",
        "message": "Value not in list",
        "details": "sampler: 'x' not in []",
        "extra_info": {"input_name": "sampler"},
    }
    refusal = first_refusal(whole, {"4": {"errors": [choice]}})
    assert refusal == Refusal(
        "4", "value_not_in_list", "Value not in list", "sampler: 'x' not in []", "sampler"
    )
    assert refusal.is_unknown_choice
    assert first_refusal(whole, {}) == Refusal(
        None, "prompt_outputs_failed_validation", "Failed", ""
    )
    assert first_refusal(None, {}) is None
