from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from comfyui_runtime.errors import ParameterError
from comfyui_runtime.workflow.parameters import (
    DRAWN_SEED_LIMIT,
    SEED_MAX,
    Parameters,
    resolve_parameters,
)

DECLARED = {
    "strength": {"type": "number", "default": 0.5, "minimum": 0, "maximum": 1.5},
    "steps": {"type": "integer", "default": 6, "minimum": 1, "maximum": 50},
    "seed": {"type": "seed"},
    "tags": {"type": "boolean", "default": True},
    "prompt": {"type": "string", "default": "", "max_length": 20},
    "sampler": {"type": "choice", "default": "euler", "choices": ["euler", "dpmpp_sde"]},
}


def declare(**fields):
    """Read one parameter as a manifest has it."""
    return Parameters(by_name={"it": {"description": "What it does."} | fields}).by_name


PARAMETERS = {name: declare(**fields)["it"] for name, fields in DECLARED.items()}


def resolve(**given_values):
    return resolve_parameters(PARAMETERS, given_values)


def refused(**given_values) -> ParameterError:
    (name,) = given_values
    with pytest.raises(ParameterError) as caught:
        resolve(**given_values)
    assert caught.value.details["parameter"] == name
    assert f'"{name}"' in caught.value.message
    return caught.value


def test_defaults_fill_what_was_not_given():
    values = resolve(steps=9)
    seed = values.pop("seed")
    assert values == {
        "strength": 0.5,
        "steps": 9,
        "tags": True,
        "prompt": "",
        "sampler": "euler",
    }
    assert 0 <= seed < DRAWN_SEED_LIMIT


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("strength", 0),
        ("strength", 1.5),
        ("steps", 1),
        ("steps", 50),
        ("seed", 0),
        ("seed", SEED_MAX),
        ("tags", False),
        ("prompt", "x" * 20),
        ("sampler", "dpmpp_sde"),
    ],
)
def test_value_within_bounds_is_taken_as_it_is(name, value):
    assert resolve(**{name: value})[name] == value


def test_whole_number_given_for_a_number_reaches_the_graph_as_one_with_a_fraction():
    assert isinstance(resolve(strength=1)["strength"], float)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("strength", "0.5", "must be a number"),
        ("strength", True, "must be a number"),
        ("strength", None, "must be a number"),
        ("strength", [0.5], "must be a number"),
        ("steps", 6.0, "must be a whole number"),
        ("steps", True, "must be a whole number"),
        ("steps", "6", "must be a whole number"),
        ("seed", False, "must be a whole number"),
        ("seed", 1.0, "must be a whole number"),
        ("seed", None, "must be a whole number"),
        ("tags", 1, "must be true or false"),
        ("tags", "true", "must be true or false"),
        ("prompt", 5, "must be a text"),
        ("prompt", None, "must be a text"),
        ("sampler", 0, "must be one of euler, dpmpp_sde"),
        ("sampler", ["euler"], "must be one of euler, dpmpp_sde"),
    ],
)
def test_wrong_type_is_refused_with_the_right_one(name, value, expected):
    assert expected in refused(**{name: value}).message


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("strength", -0.001, "must be from 0 to 1.5"),
        ("strength", 1.501, "must be from 0 to 1.5"),
        ("strength", math.nan, "must be from 0 to 1.5"),
        ("strength", math.inf, "must be from 0 to 1.5"),
        ("strength", -math.inf, "must be from 0 to 1.5"),
        ("strength", 10**400, "must be from 0 to 1.5"),
        ("steps", 0, "must be from 1 to 50"),
        ("steps", 51, "must be from 1 to 50"),
        ("steps", -(10**400), "must be from 1 to 50"),
        ("seed", -1, f"must be from 0 to {SEED_MAX}"),
        ("seed", SEED_MAX + 1, f"must be from 0 to {SEED_MAX}"),
        ("prompt", "x" * 21, "at most 20 characters"),
        ("sampler", "Euler", "must be one of euler, dpmpp_sde"),
        ("sampler", "", "must be one of euler, dpmpp_sde"),
    ],
)
def test_value_out_of_bounds_is_refused_with_the_bounds(name, value, expected):
    assert expected in refused(**{name: value}).message


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("strength", 2, {"type": "number", "minimum": 0.0, "maximum": 1.5}),
        ("steps", 0, {"type": "integer", "minimum": 1, "maximum": 50}),
        ("seed", -1, {"type": "seed"}),
        ("tags", 1, {"type": "boolean"}),
        ("prompt", 1, {"type": "string", "max_length": 20}),
        ("sampler", "x", {"type": "choice", "choices": ["euler", "dpmpp_sde"]}),
    ],
)
def test_refusal_carries_what_is_allowed_as_data(name, value, allowed):
    details = refused(**{name: value}).details
    assert details == {"parameter": name, "allowed": allowed}
    json.dumps(details, allow_nan=False)


def test_large_bounds_are_told_to_the_last_digit():
    parameters = declare(type="number", default=1, minimum=0, maximum=16_777_216)
    with pytest.raises(ParameterError, match="from 0 to 16777216"):
        resolve_parameters(parameters, {"it": 16_777_217})


def test_unknown_name_lists_what_there_is():
    with pytest.raises(ParameterError, match='no parameter "stepz"') as caught:
        resolve(stepz=5)
    assert caught.value.details == {"parameter": "stepz", "allowed": sorted(PARAMETERS)}
    assert "prompt, sampler, seed, steps, strength, tags" in caught.value.message


def test_workflow_without_parameters_says_so():
    with pytest.raises(ParameterError, match="This workflow has: none"):
        resolve_parameters({}, {"steps": 5})


def test_drawn_seeds_differ_and_stay_exact_in_every_json_reader():
    seeds = [resolve()["seed"] for _ in range(50)]
    assert len(set(seeds)) == 50
    assert all(0 <= seed < 2**53 for seed in seeds)
    assert max(seeds) > 2**40


def test_given_seed_is_kept():
    assert resolve(seed=7)["seed"] == 7


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (DECLARED["steps"] | {"default": 51}, "it: the default must be from 1 to 50"),
        (DECLARED["strength"] | {"default": 2.0}, "it: the default must be from 0 to 1.5"),
        (DECLARED["strength"] | {"minimum": 2.0}, "it: the default must be from 2 to 1.5"),
        (DECLARED["prompt"] | {"default": "x" * 21}, "it: the default must have at most 20"),
        (DECLARED["sampler"] | {"default": "heun"}, "it: the default must be one of"),
        (DECLARED["steps"] | {"default": True}, "valid integer"),
        (DECLARED["steps"] | {"default": "6"}, "valid integer"),
        (DECLARED["steps"] | {"minimum": "1"}, "valid integer"),
        (DECLARED["strength"] | {"default": True}, "valid number"),
        (DECLARED["strength"] | {"maximum": "2"}, "valid number"),
        (DECLARED["tags"] | {"default": "yes"}, "valid boolean"),
        (DECLARED["tags"] | {"default": 1}, "valid boolean"),
        (DECLARED["strength"] | {"maximum": math.inf}, "finite number"),
        (DECLARED["strength"] | {"minimum": math.nan}, "finite number"),
        (DECLARED["sampler"] | {"choices": []}, "at least 1 item"),
        (DECLARED["prompt"] | {"max_length": 0}, "greater than or equal to 1"),
        (DECLARED["seed"] | {"default": 5}, "Extra inputs are not permitted"),
        (DECLARED["steps"] | {"max": 5}, "Extra inputs are not permitted"),
        (DECLARED["steps"] | {"description": ""}, "at least 1 character"),
        ({"type": "colour", "default": "red"}, "does not match any of the expected tags"),
        ({"default": 5}, "Unable to extract tag"),
    ],
)
def test_wrong_declaration_is_refused(fields, expected):
    with pytest.raises(ValidationError) as caught:
        declare(**fields)
    assert expected in str(caught.value)


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(0, 60)
    | st.just(10**400)
    | st.floats()
    | st.floats(-0.5, 2)
    | st.text(st.characters(), max_size=25)
    | st.sampled_from(["euler", "dpmpp_sde"])
)


@given(
    st.dictionaries(
        st.sampled_from(sorted(PARAMETERS)) | st.text(max_size=5),
        scalars | st.lists(scalars, max_size=2) | st.dictionaries(st.text(max_size=2), scalars),
        max_size=3,
    )
)
def test_whatever_is_accepted_is_within_bounds_and_the_rest_a_parameter_error(given_values):
    try:
        values = resolve_parameters(PARAMETERS, given_values)
    except ParameterError as error:
        assert error.details["parameter"] in given_values  # noqa: PT017 - either outcome is right
        return
    assert values.keys() == PARAMETERS.keys()
    assert 0 <= values["strength"] <= 1.5
    assert type(values["strength"]) is float
    assert 1 <= values["steps"] <= 50
    assert type(values["steps"]) is int
    assert 0 <= values["seed"] <= SEED_MAX
    assert type(values["seed"]) is int
    assert type(values["tags"]) is bool
    assert len(values["prompt"]) <= 20
    assert values["sampler"] in {"euler", "dpmpp_sde"}
    for name, value in given_values.items():
        assert values[name] == value


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False), st.data())
def test_number_is_accepted_exactly_within_its_bounds(minimum, value, data):
    maximum = data.draw(st.floats(minimum, allow_nan=False, allow_infinity=False))
    parameters = declare(type="number", default=minimum, minimum=minimum, maximum=maximum)
    if minimum <= value <= maximum:
        assert resolve_parameters(parameters, {"it": value}) == {"it": value}
    else:
        with pytest.raises(ParameterError):
            resolve_parameters(parameters, {"it": value})


LORA = {"type": "model", "folder": "loras", "default": "style.safetensors"}


@pytest.mark.parametrize("value", ["other.safetensors", "https://example.com/a?b=c"])
def test_model_is_a_files_name_or_an_address(value):
    assert resolve_parameters(declare(**LORA), {"it": value}) == {"it": value}


@pytest.mark.parametrize("value", ["", 1, None, "x" * 10_000])
def test_model_is_a_text_of_some_length(value):
    with pytest.raises(ParameterError, match="file name or URL"):
        resolve_parameters(declare(**LORA), {"it": value})


def test_model_with_choices_is_one_of_them_or_an_address():
    declared = declare(**LORA, choices=["style.safetensors"])
    assert resolve_parameters(declared, {"it": "HTTPS://h/a"}) == {"it": "HTTPS://h/a"}
    with pytest.raises(ParameterError, match=r"one of style\.safetensors"):
        resolve_parameters(declared, {"it": "other.safetensors"})


def test_folder_of_a_model_is_one_name():
    with pytest.raises(ValidationError):
        declare(**LORA | {"folder": "../loras"})
