"""What node classes declare: recorded for those of packs, asked of ComfyUI for its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

RECORDED = Path(__file__).with_name("node_definitions.json")
WILDCARD = "*"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Record):
    """Where a definition comes from; see "about" in the file."""

    repository: str
    commit: str = Field(pattern=r"^[0-9a-f]{40}$")
    file: str
    read_at: str = Field(pattern=r"^[0-9a-f]{40}$")


class Input(_Record):
    """One input: its type, and for a constant what it may be."""

    type: str
    default: JsonValue = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[JsonValue, ...] = ()
    folder: str | None = None


class Definition(_Record):
    """One node class."""

    source: Source | None = None
    notes: str = ""
    required: dict[str, Input] = Field(default_factory=dict)
    optional: dict[str, Input] = Field(default_factory=dict)
    outputs: tuple[str, ...]
    output_is_list: tuple[bool, ...] = ()
    output_node: bool = False

    @property
    def inputs(self) -> dict[str, Input]:
        """All inputs."""
        return {**self.required, **self.optional}


class _File(_Record):
    about: str
    classes: dict[str, Definition]


def recorded_definitions() -> dict[str, Definition]:
    """Return what the packs' classes declare, by ``class_type``."""
    return _File.model_validate_json(RECORDED.read_bytes()).classes


def core_definition(node_class: Any) -> Definition:
    """Return what a class of the ComfyUI that runs declares."""
    groups = node_class.INPUT_TYPES()
    return Definition(
        required={name: _input(spec) for name, spec in groups.get("required", {}).items()},
        optional={name: _input(spec) for name, spec in groups.get("optional", {}).items()},
        outputs=tuple(node_class.RETURN_TYPES),
        output_node=bool(getattr(node_class, "OUTPUT_NODE", False)),
    )


def _input(spec: Any) -> Input:
    kind, options = spec[0], (spec[1] if len(spec) > 1 else {})
    choices = kind if isinstance(kind, list) else options.get("options", [])
    return Input(
        type=kind if isinstance(kind, str) else "COMBO",
        default=options.get("default"),
        minimum=options.get("min"),
        maximum=options.get("max"),
        choices=tuple(choices),
    )
