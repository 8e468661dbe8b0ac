"""The parameters that a workflow's manifest declares, and their validation.

Bounds are data beside the field, shared by validation, schema, documentation and the web page.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StrictBool,
    StrictFloat,
    StrictInt,
    model_validator,
)
from pydantic_core import PydanticCustomError

from comfyui_runtime.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Mapping

ParameterValue = bool | int | float | str

SEED_MAX = 2**64 - 1
# Drawn seeds stay within what every JSON reader keeps exact (RFC 8259, section 6).
DRAWN_SEED_LIMIT = 2**53
LONGEST_MODEL_ADDRESS = 8192
"""Characters of a model's name or URL."""


class NotAllowedError(ValueError):
    """A value that a parameter refuses; the text says what is allowed."""


class _Parameter(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    description: str = Field(min_length=1)
    patches: tuple[str, ...] = Field(
        (), description='Where the value goes: "<node id>.<input name>".'
    )


class NumberParameter(_Parameter):
    """A number between bounds."""

    type: Literal["number"]
    default: StrictFloat
    minimum: StrictFloat
    maximum: StrictFloat
    step: StrictFloat | None = None

    def check(self, value: object) -> float:
        """Return the value as a number, or raise NotAllowedError saying what is allowed."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise NotAllowedError("must be a number")
        # The bounds are finite, and no comparison with NaN is true.
        if not self.minimum <= value <= self.maximum:
            raise NotAllowedError(f"must be from {self.minimum:.15g} to {self.maximum:.15g}")
        return float(value)


class IntegerParameter(_Parameter):
    """A whole number between bounds."""

    type: Literal["integer"]
    default: StrictInt
    minimum: StrictInt
    maximum: StrictInt

    def check(self, value: object) -> int:
        """Return the value as an integer, or raise NotAllowedError saying what is allowed."""
        if isinstance(value, bool) or not isinstance(value, int):
            raise NotAllowedError("must be a whole number")
        if not self.minimum <= value <= self.maximum:
            raise NotAllowedError(f"must be from {self.minimum} to {self.maximum}")
        return value


class SeedParameter(_Parameter):
    """A seed; one that was not given is drawn, and the response names it."""

    type: Literal["seed"]

    @property
    def default(self) -> int:
        """A newly drawn seed."""
        return secrets.randbelow(DRAWN_SEED_LIMIT)

    def check(self, value: object) -> int:
        """Return the value as an integer, or raise NotAllowedError saying what is allowed."""
        if isinstance(value, bool) or not isinstance(value, int):
            raise NotAllowedError("must be a whole number")
        if not 0 <= value <= SEED_MAX:
            raise NotAllowedError(f"must be from 0 to {SEED_MAX}")
        return value


class BooleanParameter(_Parameter):
    """True or false."""

    type: Literal["boolean"]
    default: StrictBool

    def check(self, value: object) -> bool:
        """Return the value as a boolean, or raise NotAllowedError saying what is allowed."""
        if not isinstance(value, bool):
            raise NotAllowedError("must be true or false")
        return value


class StringParameter(_Parameter):
    """A text."""

    type: Literal["string"]
    default: str
    max_length: int = Field(2000, ge=1)

    def check(self, value: object) -> str:
        """Return the value as a text, or raise NotAllowedError saying what is allowed."""
        if not isinstance(value, str):
            raise NotAllowedError("must be a text")
        if len(value) > self.max_length:
            raise NotAllowedError(f"must have at most {self.max_length} characters")
        return value


class ChoiceParameter(_Parameter):
    """One of a list of texts."""

    type: Literal["choice"]
    default: str
    choices: tuple[str, ...] = Field(min_length=1)

    def check(self, value: object) -> str:
        """Return the value as a text, or raise NotAllowedError saying what is allowed."""
        if not isinstance(value, str) or value not in self.choices:
            raise NotAllowedError(f"must be one of {', '.join(self.choices)}")
        return value


class ModelParameter(_Parameter):
    """The name of a model file or, where the worker allows its host, an https URL of one.

    Attributes:
        folder: ComfyUI's name of the folder kind, such as ``loras``.
        choices: The names that are allowed; without any, whatever is installed. URLs are judged by
            their host.
    """

    type: Literal["model"]
    folder: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    default: str = Field(min_length=1)
    choices: tuple[str, ...] = ()

    def check(self, value: object) -> str:
        """Return the value as a text, or raise NotAllowedError saying what is allowed."""
        if not isinstance(value, str) or not 0 < len(value) <= LONGEST_MODEL_ADDRESS:
            raise NotAllowedError(
                f"must be a model's file name or URL, of at most {LONGEST_MODEL_ADDRESS} characters"
            )
        is_url = value.lower().startswith(("https://", "http://"))
        if self.choices and not is_url and value not in self.choices:
            raise NotAllowedError(f"must be a URL, or one of {', '.join(self.choices)}")
        return value


Parameter = Annotated[
    NumberParameter
    | IntegerParameter
    | SeedParameter
    | BooleanParameter
    | StringParameter
    | ChoiceParameter
    | ModelParameter,
    Field(discriminator="type"),
]


class Parameters(BaseModel):
    """A workflow's parameters by name."""

    model_config = ConfigDict(frozen=True)

    by_name: dict[str, Parameter]

    @model_validator(mode="after")
    def _defaults_are_allowed(self) -> Self:
        for name, parameter in self.by_name.items():
            try:
                parameter.check(parameter.default)
            except NotAllowedError as error:
                raise PydanticCustomError(
                    "default_not_allowed",
                    "parameter {name}: the default {problem}",
                    {"name": name, "problem": str(error)},
                ) from error
        return self


def resolve_parameters(
    parameters: Mapping[str, Parameter], given: Mapping[str, object]
) -> dict[str, ParameterValue]:
    """Return every parameter's value: the given one if it is allowed, else the default.

    Raises:
        ParameterError: A name is unknown, or a value is of the wrong type or out of range.
            ``details`` name the parameter and what is allowed.
    """
    for name in given:
        if name not in parameters:
            raise ParameterError(
                f'There is no parameter "{name}". This workflow has: '
                f"{', '.join(sorted(parameters)) or 'none'}.",
                parameter=name,
                allowed=sorted(parameters),  # type: ignore[arg-type]
            )
    return {
        name: _resolve(name, parameter, given[name]) if name in given else parameter.default
        for name, parameter in parameters.items()
    }


def _resolve(name: str, parameter: Parameter, value: object) -> ParameterValue:
    try:
        return parameter.check(value)
    except NotAllowedError as error:
        allowed: dict[str, JsonValue] = parameter.model_dump(
            mode="json", include={"type", "minimum", "maximum", "choices", "max_length"}
        )
        raise ParameterError(
            f'Parameter "{name}" {error}.', parameter=name, allowed=allowed
        ) from error
