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
    all_refusals,
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
    ("exception", "text"),
    [
        ("torch.OutOfMemoryError", ""),
        ("torch.cuda.OutOfMemoryError", ""),
        ("torch.AcceleratorError", "CUDA error: out of memory"),
        (
            "torch.AcceleratorError",
            "CUDA error\n\nThis error means you ran out of memory on your GPU.",
        ),
        ("RuntimeError", "MPS backend out of memory (MPS allocated: 18.13 GB)"),
        ("RuntimeError", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
    ],
)
def test_devices_memory_that_ran_out_is_recognised(exception, text):
    failure = NodeFailed("1", "A", exception, text)
    assert failure.out_of_memory
    assert not failure.out_of_ram


@pytest.mark.parametrize(
    ("exception", "text"),
    [
        ("MemoryError", ""),
        ("numpy._core._exceptions._ArrayMemoryError", "Unable to allocate 1.00 EiB for an array"),
        (
            "RuntimeError",
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.",
        ),
        ("OSError", "[Errno 12] Cannot allocate memory"),
    ],
)
def test_machines_memory_that_ran_out_is_recognised(exception, text):
    failure = NodeFailed("1", "A", exception, text)
    assert failure.out_of_memory
    assert failure.out_of_ram


@pytest.mark.parametrize(
    ("exception", "text"),
    [
        ("ValueError", "say when the GPU is out of memory"),
        ("RuntimeError", "mat1 and mat2 shapes cannot be multiplied"),
        ("torch.AcceleratorError", "CUDA error: an illegal memory access was encountered"),
    ],
)
def test_other_failures_are_not_of_memory(exception, text):
    assert not NodeFailed("1", "A", exception, text).out_of_memory


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


def test_every_refusal_of_every_node_is_listed():
    missing = {
        "type": "required_input_missing",
        "message": "Required input is missing",
        "details": "steps",
        "extra_info": {"input_name": "steps"},
    }
    other = {**missing, "type": "return_type_mismatch"}
    found = all_refusals({"type": "summary"}, {"1": {"errors": [missing, other]}})
    assert [(one.node_id, one.input_name, one.is_missing_input) for one in found] == [
        ("1", "steps", True),
        ("1", "steps", False),
    ]
    assert all_refusals(None, {}) == ()


def test_exception_without_a_text_is_told_by_its_type():
    error = {
        "type": "exception_during_validation",
        "message": "Exception when validating node",
        "details": "",
        "extra_info": {"exception_type": "AssertionError"},
    }
    refusal = first_refusal(None, {"1": {"errors": [error]}})
    assert refusal is not None
    assert refusal.details == "AssertionError"
